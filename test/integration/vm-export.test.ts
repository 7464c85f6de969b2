import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { foldNames, guestNames } from '../../controller/cli/guest/guest-name.js';
import {
  ansibleInventory,
  ansibleScriptJson,
  dnsmasqConf,
  hostsFile,
  nodeSet,
  type Exported,
} from '../../controller/cli/view/vm-export.js';
import { Lease, LeaseState } from '../../shared/gen/domherd/v1/lease.js';
import { Vif, Vm, VmState } from '../../shared/gen/domherd/v1/vm.js';

/** The continuous integration installs them all; elsewhere one that is missing is told, not failed. */
function needs(program: string, debPackage: string): { readonly skip: string | false } {
  const folders = ['/usr/bin', '/usr/sbin', '/bin', '/sbin', '/usr/local/bin'];
  const isThere = process.env['CI'] !== undefined || folders.some((folder) => existsSync(join(folder, program)));
  return { skip: isThere ? false : `needs ${program}: apt-get install ${debPackage}` };
}

let lastId = 0;

function vmOf(name: string, host: string, ...addresses: string[]): Vm {
  const vifs = addresses.map((address, index) => {
    const mac = `00:16:3e:b4:00:${String(Number(address.split('.').at(-1)) % 256).padStart(2, '0')}`;
    return Vif.create({ index, mac, lease: Lease.create({ address, mac, state: LeaseState.BOUND }) });
  });
  return Vm.create({ id: (lastId += 1), name, host, state: VmState.RUNNING, vifs });
}

function exported(vms: readonly Vm[]): readonly Exported[] {
  const names = guestNames(vms);
  return vms.map((vm) => ({ vm, name: names.get(vm.id) ?? '' }));
}

const FLEET = exported([
  vmOf('web-1', 'dom0-1', '10.180.0.1'),
  vmOf('web-2', 'dom0-2.grenoble.example.org', '10.180.0.2', '10.180.0.3'),
  vmOf('domU', 'dom0-1', '10.180.0.4'),
  vmOf('domU', 'dom0-2.grenoble.example.org', '10.180.0.5'),
  vmOf('new', 'dom0-1'),
]);

t.test('a VM has a name that everybody takes, and nobody else has', (t) => {
  t.strictSame(
    FLEET.map(({ name }) => name),
    ['web-1', 'web-2', 'domU.dom0-1', 'domU.dom0-2.grenoble.example.org', 'new'],
  );
  const odd = exported([vmOf('a b_c', 'h', '10.0.0.1'), vmOf('a-b-c', 'h', '10.0.0.2'), vmOf('-._', 'h', '10.0.0.3')]);
  t.strictSame(
    odd.map(({ name }) => name),
    [`a-b-c.${String(odd[0]?.vm.id)}`, `a-b-c.${String(odd[1]?.vm.id)}`, 'vm'],
    'equal once they are made fit',
  );
  t.end();
});

t.test('nodeset reads what names are folded to', needs('nodeset', 'clustershell'), (t) => {
  t.equal(foldNames(['web-2', 'db', 'web-1', 'web-10', 'web-3', 'n01', 'n02', 'n1']), 'db,n1,n[01-02],web-[1-3,10]');
  t.equal(foldNames([]), '');
  const expand = (folded: string): string[] =>
    execFileSync('nodeset', ['-e', '-S', '\n', folded]).toString().trim().split('\n').sort();
  const name = fc
    .tuple(fc.constantFrom('web-', 'n', 'db.dom0-'), fc.nat(120), fc.constantFrom('', '.site'), fc.boolean())
    .map(
      ([prefix, number, suffix, isPadded]) =>
        `${prefix}${isPadded ? String(number).padStart(3, '0') : String(number)}${suffix}`,
    );
  fc.assert(
    fc.property(fc.uniqueArray(name, { minLength: 1, maxLength: 40 }), (names) => {
      t.strictSame(expand(foldNames(names)), [...names].sort());
    }),
    { numRuns: 15 },
  );
  t.strictSame(expand(nodeSet(FLEET).trim()), ['domU.dom0-1', 'domU.dom0-2.grenoble.example.org', 'web-1', 'web-2']);
  t.equal(nodeSet([]), '');
  t.end();
});

t.test('clush takes the VMs for its nodes', needs('clush', 'clustershell'), (t) => {
  // A worker that asks no network: it runs a program here for each node, and prints its name before what that says.
  const said = execFileSync('clush', ['-R', 'exec', '-w', nodeSet(FLEET).trim(), 'echo', 'of', '%host']).toString();
  t.strictSame(said.trim().split('\n').sort(), [
    'domU.dom0-1: of domU.dom0-1',
    'domU.dom0-2.grenoble.example.org: of domU.dom0-2.grenoble.example.org',
    'web-1: of web-1',
    'web-2: of web-2',
  ]);
  t.end();
});

t.test('a hosts file', (t) => {
  t.equal(
    hostsFile(FLEET),
    [
      '10.180.0.1\tweb-1',
      '10.180.0.2\tweb-2',
      '10.180.0.3\tweb-2-nic1',
      '10.180.0.4\tdomU.dom0-1',
      '10.180.0.5\tdomU.dom0-2.grenoble.example.org',
      '',
    ].join('\n'),
  );
  t.end();
});

t.test('dnsmasq takes its configuration', needs('dnsmasq', 'dnsmasq-base'), (t) => {
  const path = join(t.testdir(), 'vms.conf');
  writeFileSync(path, dnsmasqConf(FLEET));
  execFileSync('dnsmasq', ['--test', '--conf-file=/dev/null', `--conf-file=${path}`], { stdio: 'pipe' });
  t.match(dnsmasqConf(FLEET), 'dhcp-host=00:16:3e:b4:00:01,10.180.0.1,web-1\nhost-record=web-1,10.180.0.1\n');
  writeFileSync(path, dnsmasqConf(FLEET).replace('host-record', 'host-recrd'));
  t.throws(() => execFileSync('dnsmasq', ['--test', `--conf-file=${path}`], { stdio: 'pipe' }), 'it does look');
  t.end();
});

t.test('Ansible reads the inventory, as a file and from a script', needs('ansible-inventory', 'ansible-core'), (t) => {
  const folder = t.testdir({ 'inventory.ini': ansibleInventory(FLEET), 'list.json': ansibleScriptJson(FLEET) });
  const script = join(folder, 'script');
  writeFileSync(script, `#!/bin/sh\n[ "$1" = --list ] && exec cat ${folder}/list.json\nexit 1\n`, { mode: 0o755 });
  const list = (source: string): unknown => {
    const env = { PATH: process.env['PATH'], HOME: folder, ANSIBLE_LOCAL_TEMP: folder, LC_ALL: 'C.UTF-8' };
    return JSON.parse(execFileSync('ansible-inventory', ['-i', source, '--list'], { env, stdio: 'pipe' }).toString());
  };
  const wanted = {
    _meta: {
      hostvars: {
        'web-2': { ansible_host: '10.180.0.2', ansible_user: 'root', domherd_host: 'dom0-2.grenoble.example.org' },
        'domU.dom0-1': { ansible_host: '10.180.0.4', domherd_state: 'running' },
      },
    },
    domherd_on_dom0_1: { hosts: ['web-1', 'domU.dom0-1'] },
    domherd_on_dom0_2_grenoble_example_org: { hosts: ['web-2', 'domU.dom0-2.grenoble.example.org'] },
  };
  for (const source of [join(folder, 'inventory.ini'), script]) {
    const read = list(source) as typeof wanted & { domherd: { hosts: string[] } };
    t.match(read, wanted, source);
    t.equal(read.domherd.hosts.length, 4, 'one without an address is left out');
  }
  t.end();
});

t.test('the script that is delivered calls the command line', (t) => {
  const script = join(process.cwd(), 'deploy', 'ansible', 'domherd-inventory');
  t.ok(existsSync(script));
  const folder = t.testdir();
  writeFileSync(join(folder, 'domherd'), '#!/bin/sh\necho "$@"\n', { mode: 0o755 });
  const said = execFileSync(script, ['--list'], { env: { PATH: `${folder}:/usr/bin:/bin` } }).toString();
  t.equal(said, 'vm list -o ansible --list\n');
  t.end();
});
