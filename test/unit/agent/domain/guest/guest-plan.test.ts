import t from 'tap';
import { formatIpv4, parseIpv4 } from '../../../../../shared/domain/ipv4.js';
import { parseMac } from '../../../../../shared/domain/mac.js';
import { hostKeyTypes, planRenewal } from '../../../../../agent/domain/guest/renew-plan.js';
import { secretWarnings } from '../../../../../agent/domain/guest/guest-secret.js';
import { type NicOptions, planGuest, readGuest } from '../../../../../agent/domain/guest/guest-plan.js';
import type { GuestNode, GuestTree } from '../../../../../agent/domain/guest/guest-tree.js';
import type { GuestSettings, InterfaceSettings } from '../../../../../agent/domain/order.js';

const SITE: InterfaceSettings = {
  prefixLength: 14,
  broadcast: parseIpv4('10.183.255.255'),
  gateway: parseIpv4('10.183.255.254'),
  dns: [parseIpv4('172.16.16.247')],
  domain: 'grenoble.example',
};
const MAC = parseMac('00:16:3e:b4:00:07');

const ONE_VIF: NicOptions = { vifCount: 1, macs: new Map([[0, '00:16:3e:b4:00:07']]), kernelLine: '' };

function settingsOf(addresses: readonly string[], hostname?: string): GuestSettings {
  const vifs = addresses.map((text, index) => ({
    index,
    mac: MAC,
    address: parseIpv4(text),
    settings: SITE,
    hasDefaultRoute: index === 0,
  }));
  return { vifs, hostname };
}

function treeOf(files: Readonly<Record<string, string | { readonly link: string }>>): GuestTree {
  const nodes = Object.entries(files).map(([path, file]): [string, GuestNode] =>
    typeof file === 'string'
      ? [path, { kind: 'file', mode: 0o644, uid: 0, gid: 0, text: file }]
      : [path, { kind: 'link', target: file.link }],
  );
  return new Map([['/etc', { kind: 'folder', mode: 0o755, uid: 0, gid: 0 }], ...nodes]);
}

/** The texts after a plan, by path; only of what is written. */
function planned(tree: GuestTree, settings: GuestSettings, options = ONE_VIF): Record<string, string> {
  const { edits } = planGuest(tree, settings, options);
  return Object.fromEntries(edits.map((edit) => [edit.path, edit.kind === 'write' ? edit.text : '(removed)']));
}

t.test('a guest with ifupdown', (t) => {
  const DHCP = 'auto eth0\niface eth0 inet dhcp\n';

  t.test('the file that has the stanza is the one that is edited', (t) => {
    const main = 'source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n';
    const tree = treeOf({
      '/etc/network/interfaces': main,
      '/etc/network/interfaces.d/eth0': DHCP,
      '/etc/network/interfaces.d/other': 'auto eth5\n',
    });
    const texts = planned(tree, settingsOf(['10.180.0.7']));
    t.strictSame(Object.keys(texts), ['/etc/network/interfaces.d/eth0', '/etc/resolv.conf']);
    const unread = treeOf({ '/etc/network/interfaces': 'auto lo\n', '/etc/network/interfaces.d/eth0': DHCP });
    t.ok(
      planned(unread, settingsOf(['10.180.0.7']))['/etc/network/interfaces'],
      'a file that nothing includes is none',
    );
    t.end();
  });

  t.test('two vifs: the first has the default route and the DNS', (t) => {
    const texts = planned(treeOf({ '/etc/network/interfaces': DHCP }), settingsOf(['10.180.0.7', '10.180.0.8']), {
      ...ONE_VIF,
      vifCount: 2,
    });
    const text = texts['/etc/network/interfaces'] ?? '';
    t.equal(text.match(/gateway/g)?.length, 1);
    t.match(
      text,
      /auto eth0\niface eth0 inet static\n    address 10\.180\.0\.7[^]*auto eth1\niface eth1 inet static\n    address 10\.180\.0\.8/,
    );
    const after = readGuest(treeOf({ '/etc/network/interfaces': text }), { ...ONE_VIF, vifCount: 2 });
    t.strictSame([...(after?.addresses.values() ?? [])].map(formatIpv4), ['10.180.0.7', '10.180.0.8']);
    t.end();
  });

  t.test('the name is the one that the guest uses, or would', (t) => {
    const names: readonly { name: string; files: Record<string, string>; kernelLine?: string; want: RegExp }[] = [
      { name: 'eth0', files: { '/etc/network/interfaces': DHCP }, want: /iface eth0 / },
      { name: 'enX0', files: { '/etc/network/interfaces': 'iface enX0 inet dhcp\n' }, want: /iface enX0 / },
      { name: 'another', files: { '/etc/network/interfaces': 'iface ens3 inet dhcp\n' }, want: /iface ens3 / },
      {
        name: 'nothing, old',
        files: { '/sbin/ifup': '', '/etc/os-release': 'ID=debian\nVERSION_ID="12"\n' },
        want: /iface eth0 /,
      },
      {
        name: 'nothing, new',
        files: { '/sbin/ifup': '', '/usr/lib/os-release': 'ID=debian\nVERSION_ID="13"\n' },
        want: /iface enX0 /,
      },
      {
        name: 'nothing, new, told otherwise',
        files: { '/sbin/ifup': '', '/etc/os-release': 'ID=ubuntu\nVERSION_ID="24.04"\n' },
        kernelLine: 'ro net.ifnames=0',
        want: /iface eth0 /,
      },
    ];
    for (const c of names) {
      const options = { ...ONE_VIF, kernelLine: c.kernelLine ?? '' };
      t.match(planned(treeOf(c.files), settingsOf(['10.180.0.7']), options)['/etc/network/interfaces'], c.want, c.name);
    }
    t.end();
  });

  t.test('refuses what it would break', (t) => {
    const refused = [
      { '/etc/network/interfaces': 'iface eth0 inet manual\niface br0 inet dhcp\n bridge_ports eth0\n' },
      { '/etc/network/interfaces': 'iface eth0 inet dhcp\niface eth0 inet static\n' },
      { '/etc/network/interfaces': { link: '/elsewhere' } },
    ];
    for (const files of refused)
      t.throws(() => planGuest(treeOf(files), settingsOf(['10.180.0.7']), ONE_VIF), { code: 'invalid' });
    t.end();
  });

  t.test('cloud-init is told to leave network and names alone', (t) => {
    const files = { '/etc/network/interfaces': DHCP, '/etc/cloud/cloud.cfg': '' };
    const path = '/etc/cloud/cloud.cfg.d/99-domherd.cfg';
    t.match(
      planned(treeOf(files), settingsOf(['10.180.0.7'], 'vm7'))[path],
      /network: \{config: disabled\}\npreserve_hostname: true/,
    );
    t.notMatch(planned(treeOf(files), settingsOf(['10.180.0.7']))[path], /hostname/);
    const disabled = { ...files, '/etc/cloud/cloud-init.disabled': '' };
    t.equal(planned(treeOf(disabled), settingsOf(['10.180.0.7']))[path], undefined);
    t.end();
  });

  t.test('what was planned, once written, needs nothing more', (t) => {
    const files = {
      '/etc/network/interfaces': DHCP,
      '/etc/hostname': 'domU\n',
      '/etc/hosts': '127.0.1.1 domU\n',
      '/etc/cloud/cloud.cfg': '',
    };
    const settings = settingsOf(['10.180.0.7'], 'vm7');
    const after = { ...files, ...planned(treeOf(files), settings) };
    t.strictSame(planned(treeOf(after), settings), {});
    t.strictSame(readGuest(treeOf(after), ONE_VIF), {
      addresses: new Map([[0, parseIpv4('10.180.0.7')]]),
      hostname: 'vm7',
    });
    t.end();
  });

  t.test('is warned of, when its secrets are none', (t) => {
    const tree = treeOf({
      '/etc/network/interfaces': DHCP,
      '/etc/shadow': 'root::1::::::\ndaemon:*:1::::::\ntoor::2::::::\n',
      '/root/.ssh/id_ed25519': 'x',
      '/root/.ssh/id_ed25519.pub': 'x',
    });
    const { warnings } = planGuest(tree, settingsOf(['10.180.0.7']), ONE_VIF);
    t.equal(warnings.length, 3);
    t.end();
  });
  t.end();
});

t.test('guests that cannot be served are refused with what to do', (t) => {
  const cases = [
    { name: 'NetworkManager', files: { '/usr/sbin/NetworkManager': '' }, message: /NetworkManager/ },
    {
      name: 'unknown',
      files: { '/etc/os-release': 'PRETTY_NAME="Alpine Linux v3.19"\n' },
      message: /Alpine Linux v3\.19/,
    },
  ];
  for (const c of cases) {
    const plan = (): unknown => planGuest(treeOf(c.files), settingsOf(['10.180.0.7']), ONE_VIF);
    t.throws(plan, { code: 'invalid', message: c.message, details: { hint: /by hand/ } }, c.name);
    t.equal(readGuest(treeOf(c.files), ONE_VIF), undefined);
  }
  t.throws(() => planGuest(new Map(), settingsOf(['10.180.0.7']), ONE_VIF), { code: 'invalid', message: /no \/etc/ });
  t.end();
});

const NETWORKD_ON = { '/etc/systemd/system/multi-user.target.wants/systemd-networkd.service': { link: '/lib/x' } };
const NETWORKD = { ...NETWORKD_ON, '/etc/systemd/network/20-dhcp.network': '[Match]\nName=e*\n[Network]\nDHCP=yes\n' };
const CLOUD_YAML = 'network:\n    version: 2\n    ethernets:\n        eth0:\n            dhcp4: true\n';
const NETPLAN = { '/usr/sbin/netplan': { link: '../share/x' }, '/etc/netplan/50-cloud-init.yaml': CLOUD_YAML };
const IFUPDOWN = { '/sbin/ifup': '', '/etc/network/interfaces': 'auto eth0\niface eth0 inet dhcp\n' };
const OWN_NETWORK = '/etc/systemd/network/05-domherd-vif0.network';
const OWN_YAML = '/etc/netplan/90-domherd-vif0.yaml';

t.test('a guest is told by what it uses, not by what is left over in it', (t) => {
  const { '/etc/network/interfaces': interfaces } = IFUPDOWN;
  const idle = { '/sbin/ifup': '', '/etc/network/interfaces': 'auto lo\niface lo inet loopback\n' };
  const masked = { ...NETWORKD, '/etc/systemd/system/systemd-networkd.service': { link: '/dev/null' } };
  const cases = [
    { name: 'ifupdown', files: IFUPDOWN, writes: '/etc/network/interfaces' },
    { name: 'ifupdown without its files', files: { '/usr/sbin/ifup': '' }, writes: '/etc/network/interfaces' },
    {
      name: 'netplan without files, ifupdown',
      files: { ...IFUPDOWN, '/usr/sbin/netplan': '' },
      writes: '/etc/network/interfaces',
    },
    {
      name: 'files of netplan without the program, ifupdown',
      files: { ...IFUPDOWN, '/etc/netplan/a.yaml': '' },
      writes: '/etc/network/interfaces',
    },
    {
      name: 'networkd with nothing to do, ifupdown',
      files: { ...IFUPDOWN, ...NETWORKD_ON },
      writes: '/etc/network/interfaces',
    },
    { name: 'networkd masked, ifupdown', files: { ...IFUPDOWN, ...masked }, writes: '/etc/network/interfaces' },
    {
      name: 'networkd not enabled, ifupdown',
      files: { ...IFUPDOWN, '/etc/systemd/network/a.network': '' },
      writes: '/etc/network/interfaces',
    },
    { name: 'netplan', files: NETPLAN, writes: OWN_YAML },
    {
      name: 'netplan of later versions, files of the distribution alone',
      files: { '/usr/libexec/netplan/generate': '', '/lib/netplan/00-all.yaml': CLOUD_YAML },
      writes: OWN_YAML,
    },
    { name: 'netplan over networkd', files: { ...NETPLAN, ...NETWORKD }, writes: OWN_YAML },
    {
      name: 'netplan, a file of ifupdown left over',
      files: { ...NETPLAN, '/etc/network/interfaces': interfaces },
      writes: OWN_YAML,
    },
    { name: 'netplan, ifupdown for lo alone', files: { ...NETPLAN, ...idle }, writes: OWN_YAML },
    { name: 'networkd', files: NETWORKD, writes: OWN_NETWORK },
    {
      name: 'networkd by its socket, ifupdown for lo alone',
      files: { ...idle, '/etc/systemd/system/sockets.target.wants/systemd-networkd.socket': { link: '/lib/x' } },
      writes: OWN_NETWORK,
    },
    {
      name: 'networkd with nothing to do, a file of ifupdown left over',
      files: { ...NETWORKD_ON, '/etc/network/interfaces': interfaces },
      writes: OWN_NETWORK,
    },
  ];
  for (const c of cases) {
    const paths = Object.keys(planned(treeOf(c.files), settingsOf(['10.180.0.7'])));
    t.strictSame(
      paths.filter((path) => /netw|netplan/.test(path)),
      [c.writes],
      c.name,
    );
  }

  const both = [
    { files: { ...NETPLAN, ...IFUPDOWN }, message: /both netplan and ifupdown/ },
    { files: { ...NETWORKD, ...IFUPDOWN }, message: /both systemd-networkd and ifupdown/ },
  ];
  for (const { files, message } of both) {
    const plan = (): unknown => planGuest(treeOf(files), settingsOf(['10.180.0.7']), ONE_VIF);
    t.throws(plan, { code: 'invalid', message, details: { hint: /leave one/ } });
    t.equal(readGuest(treeOf(files), ONE_VIF), undefined);
  }
  t.end();
});

for (const [style, files, own] of [
  ['netplan', NETPLAN, OWN_YAML],
  ['systemd-networkd', NETWORKD, OWN_NETWORK],
] as const) {
  t.test(`a guest with ${style}: what was planned, once written, is read back and needs nothing more`, (t) => {
    const all = { ...files, '/etc/hostname': 'domU\n', '/etc/cloud/cloud.cfg': '' };
    t.strictSame(readGuest(treeOf(all), ONE_VIF), { addresses: new Map(), hostname: 'domU' });
    const settings = settingsOf(['10.180.0.7', '10.180.0.8'], 'vm7');
    const texts = planned(treeOf(all), settings);
    const other = own.replace('vif0', 'vif1');
    t.strictSame(Object.keys(texts), [
      own,
      other,
      '/etc/resolv.conf',
      '/etc/hostname',
      '/etc/hosts',
      '/etc/cloud/cloud.cfg.d/99-domherd.cfg',
    ]);
    t.match(texts[own], /10\.183\.255\.254/, 'the first has the default route');
    t.notMatch(texts[other], /10\.183\.255\.254|172\.16\.16\.247|grenoble/);
    const after = treeOf({ ...all, ...texts });
    t.strictSame(planned(after, settings), {});
    const addresses = (options: NicOptions): readonly (readonly [number, string])[] =>
      [...(readGuest(after, options)?.addresses ?? [])].map(([index, each]) => [index, formatIpv4(each)]);
    const both = [
      [0, '10.180.0.7'],
      [1, '10.180.0.8'],
    ];
    t.strictSame(addresses({ ...ONE_VIF, vifCount: 2 }), both);
    t.strictSame(addresses(ONE_VIF), both.slice(0, 1), 'a vif that the cfg has no more has none');
    t.strictSame(addresses({ ...ONE_VIF, macs: new Map([[0, '00:16:3e:00:00:01']]) }), [], 'nor one of another MAC');
    t.end();
  });
}

t.test('a guest with systemd-networkd', (t) => {
  const plan = (files: Parameters<typeof treeOf>[0]): Record<string, string> =>
    planned(treeOf({ ...NETWORKD, ...files }), settingsOf(['10.180.0.7']));
  t.equal(
    plan({})[OWN_NETWORK],
    '# Written by domherd.\n[Match]\nMACAddress=00:16:3e:b4:00:07\n\n[Network]\nAddress=10.180.0.7/14\n' +
      'Gateway=10.183.255.254\nDNS=172.16.16.247\nDomains=grenoble.example\n',
  );
  const links = ['../run/systemd/resolve/stub-resolv.conf', '/usr/lib/systemd/resolv.conf'];
  for (const link of links) t.strictSame(Object.keys(plan({ '/etc/resolv.conf': { link } })), [OWN_NETWORK], link);
  const refused = [
    { files: { '/etc/systemd/network/00-first.network': '' }, message: /00-first\.network would be taken before/ },
    {
      files: { '/etc/systemd/network/30-a.network': '[Network]\nBridge=br0\n' },
      message: /30-a\.network builds a bridge/,
    },
  ];
  for (const { files, message } of refused) t.throws(() => plan(files), { code: 'invalid', message });
  t.end();
});

t.test('a guest with netplan', (t) => {
  const plan = (files: Parameters<typeof treeOf>[0]): Record<string, string> =>
    planned(treeOf({ ...NETPLAN, ...files }), settingsOf(['10.180.0.7']));
  t.equal(
    plan({})[OWN_YAML],
    '# Written by domherd.\nnetwork:\n  version: 2\n  ethernets:\n    00-domherd-vif0:\n      match:\n' +
      '        macaddress: "00:16:3e:b4:00:07"\n      dhcp4: false\n      addresses: ["10.180.0.7/14"]\n      routes:\n' +
      '        - {to: "0.0.0.0/0", via: "10.183.255.254"}\n      nameservers:\n        addresses: ["172.16.16.247"]\n' +
      '        search: ["grenoble.example"]\n',
  );
  const { edits } = planGuest(treeOf(NETPLAN), settingsOf(['10.180.0.7']), ONE_VIF);
  t.match(
    edits.find(({ path }) => path === OWN_YAML),
    { mode: 0o600, uid: 0, gid: 0 },
  );
  t.equal(plan({ [OWN_NETWORK]: '' })[OWN_NETWORK], '(removed)', 'what networkd would take before');

  const served = [
    '',
    '# nothing\n',
    '---\n# one\nnetwork:\n  version: 2 # two\n  renderer: networkd\n  "ethernets": {eth0: {dhcp4: true}}\n',
    'network:\n  ethernets:\n    a:\n      addresses:\n      - 10.0.0.3/24\n',
  ];
  for (const yaml of served) t.ok(plan({ '/etc/netplan/a.yaml': yaml })[OWN_YAML], yaml);
  const refused = [
    { yaml: 'network:\n  version: 2\n  renderer: NetworkManager\n', message: /NetworkManager as its renderer/ },
    { yaml: 'network:\n  ethernets:\n    a:\n      "renderer": "NetworkManager"\n', message: /NetworkManager/ },
    { yaml: `${CLOUD_YAML}    bridges:\n        br0: {interfaces: [eth0]}\n`, message: /defines "bridges"/ },
    { yaml: 'network:\n  "vlans": {}\n', message: /defines "vlans"/ },
    { yaml: 'network: {version: 2, bonds: {}}\n', message: /does not begin with "network:"/ },
    { yaml: 'network:\nversion: 2\n', message: /not indented/ },
    { yaml: 'network:\n\tbonds: {}\n', message: /not indented/ },
    { yaml: { link: '/elsewhere' }, message: /a\.yaml is a link/ },
  ];
  for (const { yaml, message } of refused)
    t.throws(() => plan({ '/etc/netplan/a.yaml': yaml }), { code: 'invalid', message, details: { hint: /by hand/ } });
  t.throws(() => plan({ '/etc/systemd/network/10-a.network': '' }), { message: /10-a\.network/ }, 'no way before it');
  t.end();
});

t.test('the host keys that a guest will show', (t) => {
  const [ed25519, other] = ['A', 'B'].map(
    (last) => `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKYnmmOsCJEGsI325IjJzdvLDKHTcjouAb7EMdr0SFd${last}`,
  );
  const files = {
    '/etc/network/interfaces': '',
    '/etc/ssh/ssh_host_ed25519_key.pub': `${ed25519} root@domU\n`,
    '/etc/ssh/ssh_host_ed25519_key': 'PRIVATE',
    '/etc/ssh/ssh_host_rsa_key.pub': 'ssh-rsa damaged',
    '/etc/ssh/old.pub': `${other}\n`,
  };
  const keysOf = (more: Readonly<Record<string, string>>) =>
    readGuest(treeOf({ ...files, ...more }), ONE_VIF)?.hostKeys;
  t.strictSame(keysOf({}), [ed25519]);
  const cloud = '/etc/cloud/cloud.cfg';
  t.equal(keysOf({ [cloud]: 'users: []\n' }), undefined, 'cloud-init makes others at its next boot');
  const keep = {
    [cloud]: 'ssh_deletekeys: true\n',
    '/etc/cloud/cloud.cfg.d/98-domherd-keys.cfg': 'ssh_deletekeys: false\n',
  };
  t.strictSame(keysOf(keep), [ed25519]);
  t.strictSame(keysOf({ [cloud]: '', '/etc/cloud/cloud-init.disabled': '' }), [ed25519]);
  t.end();
});

t.test('the keys that a copy lets in', (t) => {
  const [a, b] = ['A', 'B'].map(
    (last) => `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKYnmmOsCJEGsI325IjJzdvLDKHTcjouAb7EMdr0SFd${last}`,
  );
  const file = '/root/.ssh/authorized_keys';
  const node = (text: string, mode = 0o600, uid = 0): GuestNode => ({ kind: 'file', mode, uid, gid: 0, text });
  const folder = (mode = 0o700, uid = 0): GuestNode => ({ kind: 'folder', mode, uid, gid: 0 });
  const plan = (nodes: Readonly<Record<string, GuestNode>>, authorizedKeys: readonly string[]) =>
    planRenewal(new Map(Object.entries(nodes)), new Map(), { authorizedKeys });
  const write = (text: string) => ({ kind: 'write', path: file, text, mode: 0o600, uid: 0, gid: 0 });
  const make = { kind: 'folder', path: '/root/.ssh', mode: 0o700, uid: 0, gid: 0 };

  t.strictSame(plan({}, [`${a} me`, `${b}`]).edits, [make, write(`${a} me\n${b}\n`)]);
  t.strictSame(plan({}, []).edits, []);
  const own = { '/root/.ssh': folder() };
  t.strictSame(plan({ ...own, [file]: node(`${a} other`) }, [`${a} me`, `${b} me`]).edits, [
    write(`${a} other\n${b} me\n`),
  ]);
  t.strictSame(plan({ ...own, [file]: node(`command="x" ${a}\n`) }, [a!]).edits, [], 'it is there, with options');
  t.strictSame(plan({ ...own, [file]: node(`#${a}\n`) }, [a!]).edits, [write(`#${a}\n${a}\n`)]);
  t.strictSame(
    plan({ ...own, [file]: node(`${a}\n`, 0o666) }, [a!]).edits,
    [write(`${a}\n`)],
    'sshd would not read it',
  );
  t.strictSame(plan({ ...own, [file]: node(`${a}\n`, 0o600, 1000) }, [a!]).edits, [write(`${a}\n`)]);
  t.strictSame(plan({ '/root/.ssh': folder(0o777), [file]: node(`${a}\n`) }, [a!]).edits, [make]);
  const link = plan({ '/root/.ssh': { kind: 'link', target: '/etc/keys' } }, [a!]);
  t.strictSame(link.edits, []);
  t.match(link.warnings, [/\/root\/\.ssh is a link/]);
  t.throws(() => plan({}, ['no key']), { code: 'invalid' });

  const cloud = planRenewal(
    treeOf({ '/etc/cloud/cloud.cfg': '' }),
    new Map([['rsa', { privateText: 'p', publicText: 'q' }]]),
  );
  t.match(cloud.edits.at(-1), { path: '/etc/cloud/cloud.cfg.d/98-domherd-keys.cfg', text: /ssh_deletekeys: false/ });
  const fresh = new Map<string, GuestNode>([
    ['/etc/ssh', folder()],
    ['/usr/sbin/sshd', node('')],
  ]);
  t.strictSame(hostKeyTypes(fresh), ['ecdsa', 'ed25519'], 'a cloud image has none yet');
  t.strictSame(hostKeyTypes(new Map([['/etc/ssh', folder()]])), [], 'no sshd, no keys');
  t.match(
    secretWarnings(treeOf({ '/root/.ssh/deploy': '-----BEGIN OPENSSH PRIVATE KEY-----\n', '/root/.ssh/x': 'y' })),
    [/\/root\/\.ssh\/deploy is a private key/],
  );
  t.end();
});

t.test('the swap space of a copy is in its fstab once', (t) => {
  const text = (fstab: string | undefined): string | undefined => {
    const tree = treeOf(fstab === undefined ? {} : { '/etc/fstab': fstab });
    const [edit] = planRenewal(tree, new Map(), { swapDevice: '/dev/xvda3' }).edits;
    return edit?.kind === 'write' ? edit.text : undefined;
  };
  t.equal(text('/dev/xvda2 / ext4 defaults 0 1'), '/dev/xvda2 / ext4 defaults 0 1\n/dev/xvda3 none swap sw 0 0\n');
  t.equal(text(undefined), '/dev/xvda3 none swap sw 0 0\n');
  t.equal(text('/dev/xvda3 swap swap defaults 0 0\n'), undefined);
  t.end();
});
