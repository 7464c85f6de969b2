import { execFileSync } from 'node:child_process';
import t from 'tap';
import { parseIpv4 } from '../../shared/domain/ipv4.js';
import { parseMac } from '../../shared/domain/mac.js';
import { createExec, type Exec } from '../../shared/exec.js';
import { ArpingProbe } from '../../agent/adapters/wire/arping-probe.js';

// The real arping on a real bridge, in network namespaces of this test: a dom0 with a bridge, a guest behind a veth pair.

const NEVER = new AbortController().signal;
const EXEC = createExec(process.env);
const DOM0 = `domherd-dom0-${process.pid}`;
const GUEST = `domherd-guest-${process.pid}`;
const MAC = '00:16:3e:b4:00:07';

function ip(...args: string[]): void {
  execFileSync('ip', args);
}

const inDom0: Exec = { run: (argv, options) => EXEC.run(['ip', 'netns', 'exec', DOM0, ...argv], options) };
const noDefault = (): Promise<string> => Promise.reject(new Error('no bridge was asked for'));

t.before(() => {
  ip('netns', 'add', DOM0);
  ip('netns', 'add', GUEST);
  ip('-n', DOM0, 'link', 'add', 'xenbr0', 'type', 'bridge');
  ip('-n', DOM0, 'link', 'add', 'vif1.0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', GUEST);
  ip('-n', DOM0, 'link', 'set', 'vif1.0', 'master', 'xenbr0', 'up');
  ip('-n', DOM0, 'link', 'set', 'xenbr0', 'up');
  ip('-n', GUEST, 'link', 'set', 'eth0', 'address', MAC, 'up');
  ip('-n', GUEST, 'address', 'add', '10.180.0.7/14', 'dev', 'eth0');
  ip('-n', DOM0, 'link', 'add', 'down0', 'type', 'bridge');
});

t.after(() => {
  ip('netns', 'del', DOM0);
  ip('netns', 'del', GUEST);
});

t.test('says who has an address', async (t) => {
  const probe = new ArpingProbe(inDom0, () => Promise.resolve('xenbr0'));
  const taken = { kind: 'answered', mac: parseMac(MAC) };
  t.strictSame(await probe.probe(parseIpv4('10.180.0.7'), 'xenbr0', NEVER), taken);
  t.strictSame(await probe.probe(parseIpv4('10.180.0.7'), undefined, NEVER), taken, 'on the default bridge');
  t.strictSame(await probe.probe(parseIpv4('10.180.0.8'), 'xenbr0', NEVER), { kind: 'silent' });
  const arp = execFileSync('ip', ['-n', GUEST, 'neighbour']).toString();
  t.notMatch(arp, /lladdr/, 'nobody has learned anything of it');
});

t.test('a bridge that cannot be asked is an error, not silence', async (t) => {
  const probe = new ArpingProbe(inDom0, noDefault);
  await t.rejects(probe.probe(parseIpv4('10.180.0.7'), 'nobr', NEVER), { code: 'unavailable' });
  await t.rejects(probe.probe(parseIpv4('10.180.0.7'), 'down0', NEVER), { code: 'unavailable' });
  await t.rejects(probe.probe(parseIpv4('10.180.0.7'), undefined, NEVER), /no bridge was asked for/);
});

t.test('the other arping, or none, is refused', async (t) => {
  const version = 'ARPing 2.23, by Thomas Habets <thomas@habets.se>\n';
  const habets: Exec = { run: (_argv, options) => EXEC.run(['printf', '%s', version], options) };
  const none: Exec = { run: (_argv, options) => EXEC.run(['/nonexistent/arping'], options) };
  for (const exec of [habets, none]) {
    const asked = new ArpingProbe(exec, noDefault).probe(parseIpv4('10.180.0.7'), 'xenbr0', NEVER);
    await t.rejects(asked, { code: 'unavailable', details: { hint: /iputils-arping/ } });
  }
});

t.test('an abort ends it', async (t) => {
  const abort = new AbortController();
  const probe = new ArpingProbe(inDom0, noDefault);
  const asked = probe.probe(parseIpv4('10.180.0.8'), 'xenbr0', abort.signal);
  abort.abort(new Error('enough'));
  await t.rejects(asked);
});
