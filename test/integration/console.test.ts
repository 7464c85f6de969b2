import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ConsoleRig, type Session } from '../harness/console-rig.js';
import { until } from '../harness/fleet-cli.js';

const LEAVE = '\u001d';

async function rigOf(t: Test, hasPtys = true): Promise<ConsoleRig> {
  const rig = await ConsoleRig.start(hasPtys);
  t.teardown(() => rig.stop());
  return rig;
}

function sees(session: Session, text: string): Promise<void> {
  return until(() => session.seen.includes(text), `${text}, but ${JSON.stringify(session.seen)}`);
}

await t.test('the console of a VM, over real gRPC and a real pty', async (t) => {
  const rig = await rigOf(t);
  const guest = await rig.boot('domU', 5);
  guest.say('Debian GNU/Linux 12 domU hvc0\r\n\r\ndomU login: ');

  const writer = rig.open('vm console domU');
  await t.test('shows what the guest says, and gives it each key', async (t) => {
    await sees(writer, 'domU login: ');
    t.match(writer.seen, /^console of domU@dom0-1 \(simulated\); Ctrl-\] leaves it$/m);
    t.match(writer.seen, /stty rows 30 cols 100/);
    t.equal(writer.isRaw, true);
    writer.keys.write('root\r\u0003');
    await until(() => guest.heard === 'root\r\u0003', 'Ctrl-C is a key like others');
  });

  const watcher = rig.open('vm console domU --watch');
  const second = rig.open('vm console domU');
  await t.test('others look on, and are told who writes', async (t) => {
    await sees(watcher, 'admin:me writes, you look on');
    await sees(second, 'admin:me writes, you look on');
    t.notMatch(second.seen, /stty/);
    watcher.keys.write('rm -rf /\r');
    second.keys.write('reboot\r');
    guest.say('\r\nWelcome\r\n# ');
    for (const each of [writer, watcher, second]) await sees(each, 'Welcome');
    writer.keys.write('uptime\r');
    await until(() => guest.heard.endsWith('uptime\r'), 'the writer writes');
    t.equal(guest.heard, 'root\r\u0003uptime\r', 'and nobody else');
    const { exitCode, err } = await rig.cli('vm console domU', { stdin: 'uptime\n' });
    t.equal(exitCode, 5, 'a program that would write is refused');
    t.match(err, /admin:me writes on the console of domU@dom0-1\nhint: .*--watch/);
  });

  await t.test('when the writer leaves, the next one writes; the terminal is as before', async (t) => {
    writer.keys.write(`exit\r${LEAVE}`);
    t.equal((await writer.done).exitCode, 0);
    t.equal(writer.isRaw, false);
    t.match(writer.seen, /left the console; the VM runs on\n$/);
    await until(() => guest.heard.endsWith('exit\r'), 'what was typed before is typed');
    await sees(second, 'you write now');
    second.keys.write('id\r');
    await until(() => guest.heard.endsWith('id\r'), 'the next one writes');
    watcher.keys.write('\u0003');
    t.equal((await watcher.done).exitCode, 0, 'who only watches leaves by Ctrl-C too');
    t.equal(watcher.isRaw, false);
  });

  await t.test(
    'a paste waits for a guest that takes nothing, and the key that leaves works all the same',
    async (t) => {
      guest.goDeaf();
      const paste = Array.from({ length: 30_000 }, (_, n) => `line ${String(n)}\r`).join('');
      second.keys.write(paste);
      await until(() => second.keys.readableLength === 0, 'it is taken from the terminal');
      t.notOk(guest.heard.endsWith(paste), 'more than fits on the way');
      guest.hear();
      await until(() => guest.heard.endsWith('line 29999\r'), 'all of it comes');
      t.ok(guest.heard.endsWith(paste), 'in order, nothing lost');
      guest.goDeaf();
      second.keys.write(paste + LEAVE);
      t.equal((await second.done).exitCode, 0);
      t.equal(second.isRaw, false);
      guest.hear();
    },
  );

  await t.test('it is opened anew for the next one, also from a program', async (t) => {
    const typed = rig.cli('vm console domU', { stdin: 'hostname\n' });
    await until(() => guest.heard.endsWith('hostname\n'), 'it is typed');
    guest.say('web-7\r\n');
    const { exitCode, out, err } = await typed;
    t.equal(exitCode, 0);
    t.match(out, /web-7\r\n/);
    t.match(err, /it is left when the input has ended and the guest is silent/);
  });

  await t.test('it ends when the domU does', async (t) => {
    const last = rig.open('vm console domU');
    await sees(last, 'stty rows');
    await guest.end();
    const { exitCode } = await last.done;
    t.equal(exitCode, 0);
    t.match(last.seen, /the console has ended: the domain of domU has ended\n/);
    t.equal(last.isRaw, false);
    const events = await rig.cli('event list --kind vm.console-attached -o json');
    t.match(events.out, /admin:me attached to the console of VM domU@dom0-1/);
    t.match(events.out, /admin:me watches the console of VM domU@dom0-1/);
  });

  await t.test('an end from outside gives the terminal back', async (t) => {
    const again = await rig.boot('domU2', 6);
    const cut = new AbortController();
    const session = rig.open('vm console domU2', { signal: cut.signal });
    await sees(session, 'stty rows');
    cut.abort();
    t.equal((await session.done).exitCode, 130);
    t.equal(session.isRaw, false);
    const lost = rig.open('vm console domU2');
    await sees(lost, 'stty rows');
    again.say('x');
    await sees(lost, 'x');
    await rig.stopAgent();
    t.equal((await lost.done).exitCode, 8, 'the host is gone');
    t.match(lost.seen, /host dom0-1 is gone/);
    t.equal(lost.isRaw, false);
  });
});

await t.test('what stands against a console', async (t) => {
  const rig = await rigOf(t);
  const refused = async (command: string, exitCode: number, text: RegExp) => {
    const run = await rig.cli(command);
    t.equal(run.exitCode, exitCode, `${command}: ${run.err}`);
    t.match(run.err, text);
  };
  await refused('vm console nobody', 3, /unknown/);
  await refused('vm console domU', 5, /is stopped: it has no console\nhint: .*--log/);
  await refused('vm console domU --lines 3', 2, /--lines is for --log/);
  await refused('vm console domU --follow', 2, /--follow is for --log/);
  await refused('vm console domU --log --watch', 2, /exclude each other/);
  await refused('vm console domU --log --lines 0', 2, /1 to 100000/);
  await refused('vm console domU --log', 5, /The consoles of this host are not logged\nhint: .*domherd host add/);
  rig.writeLog('other', 'x\n');
  await refused('vm console domU --log', 3, /has said nothing/);
  await rig.boot('domU', 5);
  rig.xenstored.write('/local/domain/5/console/tty', '/etc/shadow');
  await refused('vm console domU', 5, /is no pty/);
  rig.xenstored.remove('/local/domain/5');
  await refused('vm console domU', 5, /There is no domain domU/);
});

await t.test('what a console said before', async (t) => {
  const rig = await rigOf(t);
  const lines = Array.from({ length: 3_000 }, (_, n) => `[${String(n)}.0] line ${String(n)}\r\n`);
  const crash = '\u001b[31mKernel panic\u001b[0m - not syncing\u001b]0;pwned\u0007\u001b[6n\r\n';
  rig.writeLog('domU', `${lines.join('')}${crash}`);

  await t.test('its last lines, of a VM that is stopped', async (t) => {
    const { exitCode, out } = await rig.cli('vm console domU --log --lines 2');
    t.equal(exitCode, 0);
    t.equal(out, `[2999.0] line 2999\r\n${crash}`, 'to a file as it is');
    const all = await rig.cli('vm console domU --log');
    t.equal(all.out.split('\n').length, 1_001, '1,000 unless told');
  });

  await t.test('on a terminal without what could do it harm', async (t) => {
    const { out } = await rig.cli('vm console domU --log --lines 1', { isTerminal: true });
    t.equal(out, '\u001b[31mKernel panic\u001b[0m - not syncing\u001b[0m\n');
  });

  await t.test('never more than a MiB', async (t) => {
    rig.writeLog('domU2', 'x'.repeat(100).concat('\n').repeat(30_000));
    const { out } = await rig.cli('vm console domU2 --log --lines 100000');
    t.ok(out.length <= 1024 * 1024 && out.length > 1024 * 1024 - 200, String(out.length));
    t.match(out, /^x{100}\n/, 'whole lines');
  });

  await t.test('what is added follows, over a log that is begun anew', async (t) => {
    const stop = new AbortController();
    let seen = '';
    const onOutput = (text: string): void => void (seen += text);
    const following = rig.cli('vm console domU --log --lines 1 --follow', { onOutput, signal: stop.signal });
    await until(() => seen.includes('Kernel panic'), 'the end of it');
    appendFileSync(join(rig.logFolder, 'guest-domU.log'), 'booting\r\n');
    await until(() => seen.includes('booting'), 'what is added');
    writeFileSync(join(rig.logFolder, 'guest-domU.log'), 'anew\r\n');
    await until(() => seen.includes('anew'), 'the new one');
    stop.abort();
    t.equal((await following).exitCode, 130);
  });
});

await t.test('a simulated console says so', async (t) => {
  const rig = await rigOf(t, false);
  await rig.cli('vm start domU');
  const session = rig.open('vm console domU');
  await sees(session, 'domU (simulated) login: ');
  session.keys.write('root\r');
  await sees(session, 'this guest is simulated: nothing runs in it');
  const log = await rig.cli('vm console domU --log --lines 3');
  t.match(log.out, /a simulated guest, no Xen is behind it/);
  await rig.cli('vm destroy domU --yes');
  t.equal((await session.done).exitCode, 0);
  t.match(session.seen, /the console has ended/);
});
