import fc from 'fast-check';
import t from 'tap';
import { parseIpv4 } from '../../../../../shared/domain/ipv4.js';
import { parseMac } from '../../../../../shared/domain/mac.js';
import { answeringMac, isIputilsArping } from '../../../../../agent/domain/arping-text.js';
import {
  editCommands,
  parseLinkTargets,
  parseListings,
  parseUndoRanges,
} from '../../../../../agent/domain/guest/debugfs-text.js';
import { DISK_HEAD_BYTES, diskContent } from '../../../../../agent/domain/guest/disk-content.js';
import { originalsOf, planRestore } from '../../../../../agent/domain/guest/guest-original.js';
import type { GuestEdit, GuestNode, GuestTree } from '../../../../../agent/domain/guest/guest-tree.js';
import {
  ensureAuto,
  formatInterfaces,
  parseInterfaces,
  setStaticInterface,
  staticAddress,
} from '../../../../../agent/domain/guest/interfaces-file.js';
import { rootDisks } from '../../../../../agent/domain/guest/root-disk.js';
import { setHosts, setPersistentNetRules, setResolvConf } from '../../../../../agent/domain/guest/shared-files.js';
import type { InterfaceSettings } from '../../../../../agent/domain/order.js';
import { parseXlCfg } from '../../../../../agent/domain/xl-cfg/xl-cfg.js';

const SITE: InterfaceSettings = {
  prefixLength: 14,
  broadcast: parseIpv4('10.183.255.255'),
  gateway: parseIpv4('10.183.255.254'),
  dns: [parseIpv4('172.16.16.247')],
  domain: 'grenoble.example',
};
const MAC = parseMac('00:16:3e:b4:00:07');

t.test('interfaces files', (t) => {
  const want = {
    name: 'eth0',
    address: parseIpv4('10.180.0.7'),
    prefixLength: 14,
    broadcast: SITE.broadcast,
    gateway: SITE.gateway,
    dns: [],
    domain: '',
  };
  const set = (text: string): string => formatInterfaces(setStaticInterface(parseInterfaces(text), want));
  const STANZA = 'address 10.180.0.7\n  netmask 255.252.0.0\n  broadcast 10.183.255.255\n  gateway 10.183.255.254\n';

  const cases: readonly { name: string; before: string; after: string }[] = [
    {
      name: 'the tutorial: static to static; other options, comments and aliases stay',
      before:
        '# mine\nauto eth0 eth0:1\niface eth0 inet static\n  # old site\n  address 10.0.0.3\n  netmask 255.255.252.0\n  gateway 10.0.3.254\n  mtu 1400\n  up echo hi # no comment\niface eth0:1 inet static\n  address 10.9.9.9/32\n',
      after: `# mine\nauto eth0 eth0:1\niface eth0 inet static\n  ${STANZA}  # old site\n  mtu 1400\n  up echo hi # no comment\niface eth0:1 inet static\n  address 10.9.9.9/32\n`,
    },
    {
      name: 'dhcp to static',
      before:
        'iface eth0 inet dhcp\n  hostname x\n  hwaddress ether 00:16:3e:00:00:01\n\nauto eth1\niface eth1 inet dhcp\n',
      after: `iface eth0 inet static\n  ${STANZA}\nauto eth1\niface eth1 inet dhcp\n`,
    },
    {
      name: 'a stanza without end of line, in tabs, over two lines',
      before: 'iface eth0 \\\n\tinet dhcp',
      after: `iface eth0 inet static\n    ${STANZA.replaceAll('\n  ', '\n    ')}`,
    },
    {
      name: 'none is added',
      before: 'auto lo\niface lo inet loopback',
      after: `auto lo\niface lo inet loopback\n\niface eth0 inet static\n    ${STANZA.replaceAll('\n  ', '\n    ')}`,
    },
    {
      name: 'IPv6 of the same NIC stays',
      before: 'iface eth0 inet6 auto\niface eth0 inet dhcp\n',
      after: `iface eth0 inet6 auto\niface eth0 inet static\n    ${STANZA.replaceAll('\n  ', '\n    ')}`,
    },
  ];
  for (const c of cases) {
    t.equal(set(c.before), c.after, c.name);
    t.equal(set(c.after), c.after, `${c.name}: again`);
  }

  t.equal(
    formatInterfaces(ensureAuto(parseInterfaces('iface eth0 inet dhcp\n'), 'eth0')),
    'auto eth0\niface eth0 inet dhcp\n',
  );
  for (const text of ['allow-hotplug eth0\n', 'auto lo eth0\n']) {
    t.equal(formatInterfaces(ensureAuto(parseInterfaces(text), 'eth0')), text);
  }

  t.test('parse and format are inverse, and an edit leaves all other lines', (t) => {
    const line = fc.constantFrom(
      'auto eth0',
      'iface eth0 inet dhcp',
      'iface eth1 inet static',
      'iface eth0:1 inet static',
      'iface eth0 inet6 auto',
      '  address 10.0.0.3',
      '\taddress 10.0.0.4/24',
      '  up ip route add 10.1.0.0/16 \\',
      '    dev eth0',
      '# a comment \\',
      '',
      'source /etc/network/interfaces.d/*',
      'mapping eth2',
      '  script /bin/x',
    );
    const text = fc.tuple(fc.array(line, { maxLength: 20 }), fc.constantFrom('\n', '\r\n'), fc.boolean());
    fc.assert(
      fc.property(text, ([lines, end, isEnded]) => {
        const file = lines.join(end) + (isEnded ? end : '');
        t.equal(formatInterfaces(parseInterfaces(file)), file);
        const edited = set(file);
        if (!/^iface eth0 inet dhcp/m.test(file)) return;
        const address = staticAddress(parseInterfaces(edited), 'eth0');
        t.equal(address, want.address);
        t.equal(set(edited), edited);
        const kept = (all: string): readonly string[] =>
          all
            .split(/\r?\n/)
            .filter(
              (one) => !/^\s*(address|netmask|broadcast|gateway)\b|eth0 inet (dhcp|static)/.test(one) && one !== '',
            );
        t.strictSame(kept(edited), kept(file));
      }),
    );
    t.end();
  });
  t.end();
});

t.test('resolv.conf, hosts and udev rules', (t) => {
  const resolv = [
    { before: '', after: 'search grenoble.example\nnameserver 172.16.16.247\n' },
    {
      before: '# mine\noptions rotate\nnameserver 1.1.1.1\ndomain a\nsearch b',
      after: '# mine\noptions rotate\nsearch grenoble.example\nnameserver 172.16.16.247\n',
    },
  ];
  for (const c of resolv) t.equal(setResolvConf(c.before, SITE), c.after);
  t.equal(setResolvConf('nameserver 1.1.1.1\n', { dns: [], domain: 'x' }), 'nameserver 1.1.1.1\n');

  const change = {
    hostname: 'vm7',
    domain: 'grenoble.example',
    formerHostname: 'domU',
    addresses: [parseIpv4('10.180.0.7'), parseIpv4('10.180.0.8')],
    formerAddresses: [parseIpv4('10.0.0.3'), undefined],
  };
  const own = 'vm7.grenoble.example vm7';
  const hosts = [
    { before: '127.0.0.1 localhost\n', after: `127.0.0.1 localhost\n10.180.0.7\t${own}\n` },
    {
      before: '127.0.1.1 domU.old domU db\n10.0.0.3 domU\n# end\n',
      after: `127.0.1.1\t${own} db\n10.180.0.7\t${own}\n# end\n`,
    },
    { before: `10.180.0.7 ${own}\n10.180.0.8 vm7\n10.0.0.4 other`, after: `10.180.0.7\t${own}\n10.0.0.4 other\n` },
    { before: '', after: `10.180.0.7\t${own}\n` },
  ];
  for (const c of hosts) {
    t.equal(setHosts(c.before, change), c.after);
    t.equal(setHosts(c.after, change), c.after);
  }

  const rule = (mac: string, name: string): string =>
    `SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{address}=="${mac}", ATTR{type}=="1", KERNEL=="eth*", NAME="${name}"\n`;
  const right = rule('00:16:3e:b4:00:07', 'eth0');
  const rules = `# comment\n${rule('00:16:3e:1e:5b:0c', 'eth0')}${rule('00:16:3e:b4:00:07', 'eth1')}${right}${rule('00:16:3e:00:00:09', 'eth5')}`;
  const want = `# comment\n${right}${rule('00:16:3e:00:00:09', 'eth5')}`;
  t.equal(setPersistentNetRules(rules, [{ name: 'eth0', mac: MAC }]), want);
  t.end();
});

t.test('which disk holds the root', (t) => {
  const disks = (text: string): string => {
    try {
      return rootDisks(parseXlCfg(text))
        .map(({ target, partition }) => (partition === undefined ? target : `${target}:${String(partition)}`))
        .join(' ');
    } catch (error) {
      return error instanceof Error ? error.message : '';
    }
  };
  const two = "disk = ['file:/vm/disk.img,xvda2,w', 'phy:/dev/vg/swap,xvda1,w']\n";
  const cases = [
    { name: 'the tutorial', cfg: `root = '/dev/xvda2 ro'\n${two}`, want: '/vm/disk.img' },
    { name: 'the kernel line', cfg: `extra = 'root=/dev/xvda1 ro'\n${two}`, want: '/dev/vg/swap' },
    { name: 'by label: all that may be', cfg: `root = 'LABEL=root'\n${two}`, want: '/vm/disk.img /dev/vg/swap' },
    {
      name: 'a boot loader',
      cfg: `bootloader = 'pygrub'\ndisk = ['format=raw, vdev=xvda, access=rw, target=/vm/a.img']`,
      want: '/vm/a.img',
    },
    {
      name: 'a partition of a whole disk',
      cfg: `root = '/dev/xvda1'\ndisk = ['/vm/a.img,raw,xvda,rw']`,
      want: '/vm/a.img:1',
    },
    {
      name: 'none of that name',
      cfg: `root = '/dev/sda2'\n${two}`,
      want: 'The root is /dev/sda2, and the cfg has no such disk',
    },
    { name: 'no disk', cfg: `name = 'x'\n`, want: 'The cfg has no disk' },
    { name: 'qcow2', cfg: `disk = ['/vm/a.img,qcow2,xvda,rw']`, want: '/vm/a.img' },
    { name: 'vhd', cfg: `disk = ['/vm/a.img,vhd,xvda,rw']`, want: 'The disk xvda is a vhd image' },
    { name: 'a script', cfg: `disk = ['iscsi:x,xvda,w']`, want: 'The disk xvda is attached by the script block-iscsi' },
    { name: 'relative', cfg: `disk = ['file:a.img,xvda,w']`, want: 'The disk xvda has the path "a.img"' },
    { name: 'odd', cfg: `disk = ['file:/a/../b.img,xvda,w']`, want: 'The disk xvda has the path "/a/../b.img"' },
    {
      name: 'read only',
      cfg: `disk = ['file:/a.img,xvda,r']`,
      want: 'The disk xvda is read only, others may read it too',
    },
  ];
  for (const c of cases) t.equal(disks(c.cfg), c.want, c.name);
  t.end();
});

t.test('what a disk is', (t) => {
  const head = (...marks: readonly (readonly [number, string])[]): Buffer => {
    const bytes = Buffer.alloc(DISK_HEAD_BYTES);
    for (const [at, text] of marks) bytes.write(text, at, 'latin1');
    return bytes;
  };
  const EXT = [0x438, '\x53\xef\x01'] as const;
  const ext = (isClean: boolean) => ({ kind: 'ext', isClean, uuid: '0'.repeat(32), sizeBytes: 0 });
  const marked = diskContent(head(EXT, [0x468, '\x01\xab'], [0x477, '\xff']));
  t.match(marked, { uuid: `01ab${'0'.repeat(26)}ff` });
  t.strictSame(diskContent(head(EXT)), ext(true));
  const sized = head(EXT, [0x404, '\x00\x10'], [0x418, '\x02'], [0x550, '\x01']);
  t.match(diskContent(sized), { sizeBytes: 4_096 * 4_096 }, 'the high half counts with a feature only');
  sized.write('\x80', 0x460, 'latin1');
  t.match(diskContent(sized), { sizeBytes: (2 ** 32 + 4_096) * 4_096 });
  t.strictSame(diskContent(head(EXT, [510, '\x55\xaa'])), ext(true), 'with a boot sector');
  t.strictSame(diskContent(head(EXT, [0x460, '\x04'])), ext(false), 'a journal to replay');
  t.strictSame(diskContent(head([0x438, '\x53\xef\x02'])), ext(false), 'an error was found');
  t.strictSame(diskContent(head(EXT, [0x4e8, '\x0c'])), ext(false), 'orphans');
  const others = [
    { marks: [EXT, [0, 'LUKS\xba\xbe']] as const, what: /LUKS/ },
    { marks: [EXT, [0x460, '\x08']] as const, what: /journal of another/ },
    { marks: [[1536, 'LABELONE']] as const, what: /LVM inside/ },
    {
      marks: [
        [512, 'EFI PART'],
        [510, '\x55\xaa'],
      ] as const,
      what: /GPT/,
    },
    { marks: [[510, '\x55\xaa']] as const, what: /partition table$/ },
    { marks: [[0x10040, '_BHRfS_M']] as const, what: /btrfs/ },
    { marks: [[4086, 'SWAPSPACE2']] as const, what: /swap/ },
    { marks: [[7, 'junk']] as const, what: /no file system/ },
    { marks: [] as const, what: /^nothing$/ },
  ];
  for (const c of others) t.match(diskContent(head(...c.marks)), { kind: /other|table/, what: c.what, hint: /./ });
  t.match(diskContent(Buffer.alloc(3)), { kind: 'other' }, 'a short one');
  t.end();
});

// Recorded from debugfs and e2undo 1.47.0 (5-Feb-2023).
t.test('what debugfs and e2undo say', (t) => {
  const listing =
    'debugfs: ls -p "/etc/."\n/12/040755/0/0/.//\n/2/040755/0/0/..//\n/13/100640/0/42/shadow/731/\n/14/040755/0/0/network//\n' +
    '/15/120777/0/0/resolv.conf/8/\n/16/020600/0/0/null//\n/17/100644/0/0/a"b/3/\n\ndebugfs: ls -p "/nix/."\ndebugfs: ls -p "/."\n/12/040755/0/0/etc//\n';
  t.strictSame(
    parseListings(listing).map(
      ({ path, kind, mode, gid, sizeBytes }) => `${path} ${kind} ${mode.toString(8)} ${gid} ${sizeBytes}`,
    ),
    [
      '/etc/shadow file 640 42 731',
      '/etc/network folder 755 0 0',
      '/etc/resolv.conf link 777 0 8',
      '/etc/null other 600 0 0',
      '/etc folder 755 0 0',
    ],
  );
  const stats =
    'debugfs: stat "/etc/resolv.conf"\nInode: 15   Type: symlink    Mode:  0777   Flags: 0x0\nFast link dest: "../run/x"\ndebugfs: stat "/etc/nope"\n';
  t.strictSame([...parseLinkTargets(stats)], [['/etc/resolv.conf', '../run/x']]);
  const undo = 'Replayed block of size 4096 from 16 to 0\nReplayed block of size 8192 from 14 to 1\n';
  t.strictSame(parseUndoRanges(undo), [
    { block: 0, sizeBytes: 4096 },
    { block: 1, sizeBytes: 8192 },
  ]);

  const owner = { mode: 0o600, uid: 1, gid: 2 };
  const tree: GuestTree = new Map<string, GuestNode>([
    ['/etc', { kind: 'folder', ...owner }],
    ['/etc/hosts', { kind: 'file', text: 'x', ...owner }],
    ['/etc/link', { kind: 'link', target: 'y' }],
  ]);
  const commands = editCommands(
    [
      { kind: 'write', path: '/etc/hosts', text: '', ...owner },
      { kind: 'remove', path: '/etc/link' },
      { kind: 'remove', path: '/etc/none' },
      { kind: 'write', path: '/etc/a/b/new', text: '', ...owner },
      { kind: 'write', path: '/etc/a/b/newer', text: '', ...owner },
    ],
    tree,
    ['/w/0', '', '', '/w/3', '/w/4'],
  );
  t.strictSame(commands, [
    'rm "/etc/hosts"',
    'write "/w/0" "/etc/hosts"',
    'set_inode_field "/etc/hosts" mode 0100600',
    'set_inode_field "/etc/hosts" uid 1',
    'set_inode_field "/etc/hosts" gid 2',
    'rm "/etc/link"',
    'mkdir "/etc/a"',
    'mkdir "/etc/a/b"',
    'write "/w/3" "/etc/a/b/new"',
    'set_inode_field "/etc/a/b/new" mode 0100600',
    'set_inode_field "/etc/a/b/new" uid 1',
    'set_inode_field "/etc/a/b/new" gid 2',
    'write "/w/4" "/etc/a/b/newer"',
    'set_inode_field "/etc/a/b/newer" mode 0100600',
    'set_inode_field "/etc/a/b/newer" uid 1',
    'set_inode_field "/etc/a/b/newer" gid 2',
  ]);
  t.throws(() => editCommands([{ kind: 'write', path: '/etc/a"\nrm /b', text: '', ...owner }], tree, ['/w/0']), {
    code: 'invalid',
  });
  t.end();
});

// Recorded from iputils-arping 20221126 and arping 2.23 of Habets.
t.test('what arping says', (t) => {
  t.ok(isIputilsArping('arping from iputils 20221126\nlibcap: yes, IDN: yes\n'));
  t.notOk(isIputilsArping('ARPing 2.23, by Thomas Habets <thomas@habets.se>\n'));
  const taken =
    'ARPING 10.180.0.3 from 0.0.0.0 xenbr0\nUnicast reply from 10.180.0.3 [00:16:3E:11:22:33]  9.783ms\nSent 1 probes (1 broadcast(s))\nReceived 1 response(s)\n';
  t.equal(answeringMac(taken), parseMac('00:16:3e:11:22:33'));
  t.equal(
    answeringMac('ARPING 10.180.0.77 from 0.0.0.0 xenbr0\nSent 2 probes (2 broadcast(s))\nReceived 0 response(s)\n'),
    undefined,
  );
  t.end();
});

t.test('files as they were before the first change', (t) => {
  const owner = { mode: 0o600, uid: 1, gid: 2 };
  const file = (text: string | undefined): GuestNode => ({ kind: 'file', text, ...owner });
  const before: GuestTree = new Map<string, GuestNode>([
    ['/etc', { kind: 'folder', ...owner }],
    ['/etc/hosts', file('old')],
    ['/etc/same', file('same')],
    ['/etc/link', { kind: 'link', target: 'y' }],
    ['/etc/unread', file(undefined)],
  ]);
  const touch = (path: string): GuestEdit => ({ kind: 'remove', path });
  const originals = originalsOf(['/etc/hosts', '/etc/same', '/etc/link', '/etc/new'].map(touch), before);
  const now: GuestTree = new Map<string, GuestNode>([
    ...before,
    ['/etc/hosts', file('new')],
    ['/etc/link', file('no link')],
    ['/etc/new', file('new')],
  ]);
  const edits = planRestore(now, originals);
  t.strictSame(edits, [
    { kind: 'write', path: '/etc/hosts', text: 'old', ...owner },
    { kind: 'link', path: '/etc/link', target: 'y' },
    { kind: 'remove', path: '/etc/new' },
  ]);
  t.strictSame(editCommands(edits.slice(1, 2), now, []), ['rm "/etc/link"', 'symlink "/etc/link" "y"']);
  t.strictSame(planRestore(before, originals), []);
  const unread = originalsOf([touch('/etc/unread')], before);
  t.strictSame(planRestore(before, unread), [], 'it is still as it was not read');
  t.throws(() => planRestore(new Map(), unread), { code: 'wrong_state' });
  t.end();
});
