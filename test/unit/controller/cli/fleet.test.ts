import fc from 'fast-check';
import t from 'tap';
import { diffFleet, FLEET_LABEL, labelsOf, type PresentVm } from '../../../../controller/cli/fleet/fleet-diff.js';
import { parseFleetFile } from '../../../../controller/cli/fleet/fleet-file.js';

const FILE = `
vms:
  - name: web
    count: 3
    like: domU
    memory: 256
    labels: {role: front}
    started: true
  - name: db
    like: domU@dom0-1
    vcpus: 2
    on: dom0-1
    apart: role
    extra-disk: [64, 128]
`;

t.test('a fleet file', (t) => {
  const file = parseFleetFile(FILE, '/home/me/my fleet.yaml');
  t.equal(file.name, 'my-fleet');
  t.match(file.groups, [
    {
      name: 'web',
      names: ['web-1', 'web-2', 'web-3'],
      options: { like: 'domU', memory: 256 },
      labels: { role: 'front' },
      isStarted: true,
    },
    { name: 'db', names: ['db'], options: { vcpus: 2, on: ['dom0-1'], apart: 'role', extraDisk: [64, 128] } },
  ]);
  t.equal(parseFleetFile(`fleet: prod\n${FILE}`, 'x.yml').name, 'prod');
  const files = (image: string): unknown =>
    parseFleetFile(`vms:\n  - {name: web, image: "${image}", user-data: u.yaml}\n`, '/home/me/f.yaml').groups[0]
      ?.options;
  t.match(files('img/a.raw'), { image: '/home/me/img/a.raw', userData: '/home/me/u.yaml' }, 'beside the file');
  t.match(files('/srv/a.raw'), { image: '/srv/a.raw' });
  t.match(parseFleetFile('vms:\n  - {name: web, installer: debootstrap, dist: trixie}\n', 'f.yaml').groups[0], {
    options: { installer: 'debootstrap', dist: 'trixie' },
  });
  t.match(files('https://images.example.org/a'), { image: 'https://images.example.org/a' });

  const copy = 'like: domU, user-data: u.yaml, kernel: /boot/vmlinuz, ramdisk: /boot/initrd, cmdline: quiet';
  t.match(parseFleetFile(`vms:\n  - {name: web, ${copy}}\n`, '/home/me/f.yaml').groups[0]?.options, {
    ...{
      like: 'domU',
      userData: '/home/me/u.yaml',
      kernel: '/boot/vmlinuz',
      ramdisk: '/boot/initrd',
      cmdline: 'quiet',
    },
  });
  t.match(parseFleetFile('vms:\n  - {name: web, like: domU, bootloader: pygrub}\n', 'f.yaml').groups[0]?.options, {
    bootloader: 'pygrub',
  });

  const group = (keys: string): string => `vms:\n  - name: web\n    like: domU\n    ${keys}\n`;
  for (const [content, message] of [
    [group('memroy: 1'), /^f\.yaml:4:5: unknown key "memroy", did you mean "memory"\?$/],
    [group('zzzzzzz: 1'), /^f\.yaml:4:5: unknown key "zzzzzzz"$/],
    [group('memory: lots'), /^f\.yaml:4:13: it must be a whole number of 16 to 1048576$/],
    [group('memory: 1.5'), /f\.yaml:4:13/],
    [group('count: 0'), /f\.yaml:4:12: .*1 to 1000/],
    [group('count: 1001'), /f\.yaml:4:12/],
    [group('vcpus: 0'), /f\.yaml:4:12: .*1 to 512/],
    [group('disk: -1'), /f\.yaml:4:11/],
    [group('swap: x'), /f\.yaml:4:11/],
    [group('extra-disk: [1, x]'), /f\.yaml:4:17/],
    [group('storage: tape'), /f\.yaml:4:14: it must be one of copy/],
    [group('on: {a: b}'), /f\.yaml:4:9: it must be a text/],
    [group('pack: 1'), /f\.yaml:4:11: it must be true or false/],
    [group('apart: []'), /f\.yaml:4:12/],
    [group('labels: [a]'), /f\.yaml:4:13: it must be a map/],
    [group('labels: {a b: c}'), /f\.yaml:4:13: "a b" is no key of a label/],
    [group('reservation: []'), /f\.yaml:4:18/],
    [group('bridge: {}'), /f\.yaml:4:13/],
    [group('started: on'), /f\.yaml:4:14: it must be true or false/],
    [group('autostart: on'), /f\.yaml:4:16: it must be true or false/],
    [group('extra-vif: [br1, "br 2"]'), /f\.yaml:4:16: "br 2" is no name of a bridge/],
    [group('extra-vif: [a, b, c, d, e, f, g, h]'), /f\.yaml:4:16: there are 7 at most/],
    [group('image: a.img'), /f\.yaml:2:5: like and image are two sources/],
    [group(`sha256: ${'ab'.repeat(32)}`), /f\.yaml:2:5: sha256 is for VMs of an image/],
    [group('sha256: abc'), /f\.yaml:4:13: /],
    [group('cloud-init: false'), /f\.yaml:2:5: cloud-init is for VMs of an image/],
    [group('cloud-init: maybe'), /f\.yaml:4:17: it must be true or false/],
    [group('cloud_init: true'), /f\.yaml:4:5: unknown key "cloud_init", did you mean "cloud-init"/],
    [group('kernel: vmlinuz'), /f\.yaml:2:5: vmlinuz is no absolute path of the dom0/],
    [group('ramdisk: /boot/initrd'), /f\.yaml:2:5: ramdisk goes with kernel/],
    [group('cmdline: quiet'), /f\.yaml:2:5: cmdline goes with kernel/],
    [group('kernel: /boot/vmlinuz\n    bootloader: pygrub'), /f\.yaml:2:5: kernel and bootloader are two ways/],
    [group('bootloader: grub'), /f\.yaml:4:17: it must be one of pygrub, pvgrub/],
    ['vms:\n  - {name: web, image: a, kernel: boot/vmlinuz}\n', /f\.yaml:2:5: boot\/vmlinuz is no absolute path/],
    ['vms:\n  - {name: web, image: a, cmdline: quiet}\n', /f\.yaml:2:5: cmdline goes with kernel/],
    ['vms:\n  - {name: web, image: a, cloud-init: false, user-data: b}\n', /f\.yaml:2:5: user-data is for cloud-init/],
    [group('like: domV'), /f\.yaml:4:5: Map keys must be unique/],
    ['vms:\n  - like: domU\n', /f\.yaml:2:5: the group has no name/],
    [
      'vms:\n  - name: web\n',
      /f\.yaml:2:5: there is nothing to make VMs of \(give like VM, image FILE or URL, or installer/,
    ],
    [
      'vms:\n  - {name: web, installer: debootstrap, user-data: u.yaml}\n',
      /f\.yaml:2:5: user-data is for VMs of an image, and for copies of those/,
    ],
    ['vms:\n  - {name: web, installer: anaconda}\n', /f\.yaml:2:28: it must be one of debootstrap, xen-tools/],
    ['vms:\n  - {name: web, installer: debootstrap, dist: A b}\n', /f\.yaml:2:5: "A b" is no name of a distribution/],
    ['vms:\n  - {name: web, like: domU, tarball: /a.tar}\n', /f\.yaml:2:5: tarball goes with installer/],
    ['vms:\n  - {name: "7", like: domU}\n', /f\.yaml:2:12: .*only digits/],
    ['vms:\n  - {name: web, count: 2, like: d}\n  - {name: web-2, like: d}\n', /f\.yaml:3:5: VM web-2 is in group web/],
    ['vms: x\n', /f\.yaml:1:6: "vms" is no list/],
    ['- name: web\n', /f\.yaml:1:1: a map with "vms:"/],
    ['', /f\.yaml:1:1: a map with "vms:"/],
    ['vmz: []\n', /f\.yaml:1:1: unknown key "vmz", did you mean "vms"\?\nf\.yaml:1:1: "vms:" is missing/],
    ['fleet: a/b\nvms: []\n', /f\.yaml:1:8: "a\/b" is no value/],
    ['vms: [\n', /^f\.yaml:2:1: /],
  ] as const) {
    t.throws(() => parseFleetFile(content, 'f.yaml'), { code: 'invalid', message }, content);
  }
  t.end();
});

function vm(name: string, change: Partial<PresentVm> = {}): PresentVm {
  return {
    label: `${name}@dom0-1`,
    name,
    state: 'running',
    memoryMib: 256,
    vcpus: 1,
    labels: {},
    autostart: false,
    ...change,
  };
}

t.test('what there is and what the file says', (t) => {
  const file = parseFleetFile(FILE, 'fleet.yaml');
  const [web] = file.groups;
  const whole = web!.names.map((name) => vm(name, { labels: labelsOf(file, web!) }));
  const db = vm('db', { vcpus: 2, state: 'stopped' });
  t.strictSame(diffFleet(file, [...whole, db], true), [], 'nothing to do');
  t.match(diffFleet(file, [db], false), [{ kind: 'create', names: ['web-1', 'web-2', 'web-3'] }]);
  t.match(diffFleet(file, [whole[0]!, whole[2]!, db], false), [{ kind: 'create', names: ['web-2'] }]);
  t.match(diffFleet(file, [...whole.slice(1), vm('web-1', { state: 'stopped', memoryMib: 128 }), db], false), [
    { kind: 'label', vm: 'web-1@dom0-1', set: { role: 'front' } },
    { kind: 'set', vm: 'web-1@dom0-1', sizes: { memory: 256 }, detail: 'memory 128 -> 256 MiB' },
    { kind: 'start', vm: 'web-1@dom0-1' },
  ]);
  t.strictSame(diffFleet(file, [...whole, vm('db', { state: 'paused' })], false), [
    { kind: 'set', vm: 'db@dom0-1', sizes: { vcpus: 2 }, detail: 'vcpus 1 -> 2' },
  ]);
  const stopped = parseFleetFile(FILE.replace('true', 'false'), 'fleet.yaml');
  t.match(
    diffFleet(stopped, [...whole, db], false).map(({ kind }) => kind),
    ['stop', 'stop', 'stop'],
  );
  t.match(
    diffFleet(stopped, [vm('web-1', { memoryMib: 1 }), ...whole.slice(1), db], false).map(({ kind }) => kind),
    ['label', 'stop', 'set', 'stop', 'stop'],
  );

  const lasting = parseFleetFile(FILE.replace('started: true', 'autostart: true'), 'fleet.yaml');
  const autostart = (isOn: boolean, autostart: boolean): unknown =>
    diffFleet(
      isOn ? lasting : { ...lasting, groups: lasting.groups.map((g) => ({ ...g, options: { autostart: false } })) },
      [...whole.slice(1), vm('web-1', { labels: whole[0]!.labels, autostart }), vm('db', { ...db, autostart: isOn })],
      false,
    ).filter((change) => !('vm' in change) || !/^web-[23]/.test(change.vm));
  t.strictSame(autostart(true, false), [{ kind: 'autostart', vm: 'web-1@dom0-1', isOn: true }]);
  t.strictSame(autostart(true, true), []);
  t.strictSame(autostart(false, true), [{ kind: 'autostart', vm: 'web-1@dom0-1', isOn: false }]);

  const own = vm('web-9', { labels: { [FLEET_LABEL]: 'fleet' } });
  const foreign = [vm('x'), vm('y', { labels: { [FLEET_LABEL]: 'other' } })];
  t.strictSame(diffFleet(file, [...whole, db, own, ...foreign], false), [], 'kept without --prune');
  t.strictSame(diffFleet(file, [...whole, db, own, ...foreign], true), [
    { kind: 'remove', vm: 'web-9@dom0-1', isRunning: true },
  ]);

  const name = fc.constantFrom('web-1', 'web-2', 'db', 'x', 'y');
  const present = fc.array(
    fc.record({ name, fleet: fc.constantFrom('fleet', 'other', ''), state: fc.constantFrom('running', 'stopped') }),
  );
  fc.assert(
    fc.property(present, (vms) => {
      const all = vms.map(({ name: own, fleet, state }) => vm(own, { state, labels: { [FLEET_LABEL]: fleet } }));
      const removed = diffFleet(file, all, true).flatMap((change) => (change.kind === 'remove' ? [change.vm] : []));
      const allowed = all.filter((each) => each.labels[FLEET_LABEL] === 'fleet' && ['x', 'y'].includes(each.name));
      t.strictSame(
        removed,
        allowed.map(({ label }) => label),
        'only its own that it does not name',
      );
    }),
  );
  t.end();
});
