import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Fleet } from '../harness/fleet.js';

// Two dom0s of one image, from adoption to the file of addresses, with the built programs; only Xen is simulated.

const NETWORK = ['--prefix', '14', '--gateway', '10.183.255.254', '--name', 'job', '--ends', '+2h'];

/** A ping that reaches everything. */
function putPingFirst(folder: string): void {
  writeFileSync(join(folder, 'ping'), '#!/bin/sh\nexit 0\n');
  chmodSync(join(folder, 'ping'), 0o755);
  process.env['PATH'] = `${folder}:${process.env['PATH'] ?? ''}`;
}

await t.test('the walk-through', async (t) => {
  const fleet = new Fleet();
  t.teardown(() => fleet.stop());
  putPingFirst(t.testdir());
  const ask = async (line: string, exitCode = 0) => {
    const result = await fleet.domherd(line.split(' '));
    t.equal(result.exitCode, exitCode, `domherd ${line}\n${result.stderr}`);
    return result;
  };
  await fleet.startController();
  await Promise.all(['dom0-1', 'dom0-2'].map((host) => fleet.startAgent(host, 1)));
  t.equal((await fleet.domherd(['reservation', 'import', '-', ...NETWORK], '10.180.0.0/24\n')).exitCode, 0);
  const cfg = join(fleet.folder, 'dom0-1', 'sim', 'xen', 'domU.cfg');
  const asFound = readFileSync(cfg);

  await t.test('adopts what it finds as it is, and shows the MAC of the image as a conflict', async (t) => {
    const { stdout, stderr } = await ask('vm list');
    t.match(stdout, /domU +dom0-1 +stopped +- +(\S+) .*\n.*domU +dom0-2 +stopped +- +\1 /);
    t.equal(stderr, '1 conflict: domherd conflict list\n');
    t.match((await ask('conflict list')).stdout, /mac .* rests +domU@dom0-1#0 domU@dom0-2#0/);
    t.equal((await ask('vm list -o ips')).stdout, '', 'no lease, no address');
    t.same(readFileSync(cfg), asFound);
  });

  await t.test('refuses what is ambiguous, or hurts', async (t) => {
    t.match((await ask('vm start domU', 2)).stderr, /belongs to 2 VMs: domU@dom0-1, domU@dom0-2\nhint: give NAME@HOST/);
    await ask('vm start domU@dom0-1');
    const { stdout, stderr } = await ask('vm start domU@dom0-2', 5);
    t.match(stdout, /domU@dom0-2 +wrong_state .*which domU@dom0-1 uses/);
    t.match(stderr, /"hint":"give it its own with domherd vm address domU@dom0-2"/);
    t.match((await ask('vm wait domU@dom0-2 --for=ping --timeout 1s', 8)).stderr, /it is stopped: domherd vm start/);
    t.match((await ask('vm wait domU@dom0-1 --for=ping', 5)).stderr, /has no lease.*"hint":".*domherd vm address/);
    await ask('vm destroy domU@dom0-1 --yes');
    const never = await ask('vm restore-files domU@dom0-1 --yes', 3);
    t.match(never.stdout, /domU@dom0-1 +not_found .*domherd holds no former files of domU/);
    t.match(never.stderr, /"hint":"only what vm address wrote can be given back"/);
    t.same(readFileSync(cfg), asFound);
  });

  await t.test('gives each its own, and there is no conflict left', async (t) => {
    const plan = (await ask('vm address --all --dry-run')).stdout;
    t.match(plan, /domU@dom0-1 +keep bridge +vif 0: xenbr0, its cfg names it/);
    t.same(readFileSync(cfg), asFound);
    await ask('vm address --all');
    t.equal((await ask('vm list')).stderr, '');
    t.equal((await ask('conflict list -o json')).stdout, '[]\n');
    await ask('vm start --all');
    t.match((await ask('vm wait --all --for=ping')).stdout, /10\.180\.0\.\d+ answers ping/);
    const ips = (await ask('vm list -o ips')).stdout;
    t.match(ips, /^10\.180\.0\.\d+\n10\.180\.0\.\d+\n$/);
    t.equal((await ask('vm list -o ips')).stdout, ips, 'in a stable order');
    t.match(
      (await ask('vm show domU@dom0-1')).stdout,
      /NIC 0 +00:16:3e:\S+ on xenbr0, lease 10\.180\.0\.\d+ \(bound, of job\)/,
    );
    t.match((await ask('bridge list')).stdout, /dom0-1 +xenbr0 +eth0 +eth0 vif-domU\.0 +- +domU +default, simulated/);
  });

  await t.test('gives back the files that it found', async (t) => {
    t.match((await ask('vm restore-files domU@dom0-1 --yes', 5)).stderr, /"hint":"domherd vm shutdown domU@dom0-1"/);
    await ask('vm destroy --all --yes');
    t.match(
      (await ask('vm restore-files domU@dom0-1', 2)).stderr,
      /give domU@dom0-1 their former files.*\nhint: add --yes/,
    );
    const { stdout } = await ask('vm restore-files --all --dry-run');
    t.match(stdout, /domU@dom0-1 +restore cfg .*\ndomU@dom0-1 +release lease +10\.180\.0\.\d+ \(00:16:3e:\S+\)/);
    t.notSame(readFileSync(cfg), asFound);
    const restored = await ask('vm restore-files domU@dom0-1 --yes');
    t.match(restored.stdout, /domU@dom0-1 +done +stopped .*has its former files, released 10\.180\.0\.\d+/);
    t.same(readFileSync(cfg), asFound);
    t.equal((await ask('vm list domU@dom0-1 -o ips')).stdout, '');
    t.match(
      (await ask('event list --kind vm.files-restored')).stdout,
      /VM domU@dom0-1 has its former files back; released/,
    );
    t.match((await ask('vm restore-files domU@dom0-1 --yes')).stdout, /done .*has its former files\n/);
  });

  await t.test('a name twice on one host is told apart by its id, and never guessed', async (t) => {
    await ask('vm destroy --all --yes');
    writeFileSync(join(fleet.folder, 'dom0-1', 'sim', 'xen', 'copy.cfg'), readFileSync(cfg));
    let found = '';
    while (!found.includes('2 VMs')) found = (await fleet.domherd(['vm', 'show', 'domU@dom0-1'])).stderr;
    t.match(found, /domU@dom0-1 \(id \d+\), domU@dom0-1 \(id \d+\)\nhint: give the id/);
    const [id] = /id (\d+)/.exec(found)?.slice(1) ?? [];
    t.match((await ask('vm list')).stderr, /conflict.*: domherd conflict list/);
    t.match((await ask(`vm start ${String(id)} --force`)).stdout, /started/);
    t.match((await ask('vm list')).stdout, /unknown .*has that name too/, 'of two files, which one runs is not known');
  });
});
