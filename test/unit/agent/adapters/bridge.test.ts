import { mkdirSync, writeFileSync } from 'node:fs';
import type { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SysfsBridges } from '../../../../agent/adapters/bridge/sysfs-bridges.js';

type Interfaces = ReturnType<typeof networkInterfaces>;

const info = (cidr: string) => ({ address: cidr.split('/')[0], cidr }) as NonNullable<Interfaces[string]>[number];

/** A dom0 as the kernel shows it: a NIC, a bond of two, VLANs, a domU's back end, a tap. */
function sysfs(t: Test): string {
  const link = (target: string) => t.fixture('symlink', target);
  const nic = () => ({ device: link('../../devices/nic') });
  const folder = t.testdir({
    bus: { pci: {}, 'xen-backend': {} },
    devices: {
      nic: { subsystem: link('../../bus/pci') },
      backend: { subsystem: link('../../bus/xen-backend') },
    },
    net: {
      lo: { operstate: 'unknown\n' },
      eth0: nic(),
      eth1: nic(),
      eth2: nic(),
      bond0: { bonding: {}, lower_eth1: link('../eth1'), lower_eth2: link('../eth2') },
      'bond0.7': { lower_bond0: link('../bond0') },
      'vif1.0': { device: link('../../devices/backend') },
      tap0: { tun_flags: '0x1002\n' },
      xenbr0: {
        operstate: 'up\n',
        bridge: {},
        brif: { 'vif1.0': link('../../vif1.0'), eth0: link('../../eth0') },
        lower_eth0: link('../eth0'),
      },
      br7: { operstate: 'up\n', bridge: {}, brif: { 'bond0.7': link('../../bond0.7') } },
      lonely: { operstate: 'down\n', bridge: {}, brif: { tap0: link('../../tap0') } },
      bonding_masters: 'bond0\n',
    },
  });
  return folder;
}

function read(folder: string, interfaces: Interfaces = {}): ReturnType<SysfsBridges['readBridges']> {
  const options = { netFolder: join(folder, 'net'), xlConfPath: join(folder, 'xl.conf'), interfaces: () => interfaces };
  return new SysfsBridges(options).readBridges();
}

t.test('bridges of a dom0', async (t) => {
  const found = await read(sysfs(t), {
    eth9: [info('192.0.2.1/24')],
    xenbr0: [info('10.180.255.1/14'), info('fe80::1/64'), info('2001:db8::1/64')],
    'xenbr0:1': [info('172.16.0.1/16')],
    br7: [info('fe80::2/64'), info('169.254.1.1/16')],
  });
  t.strictSame(found, {
    bridges: [
      { name: 'br7', members: ['bond0.7'], uplinks: ['bond0.7'], addresses: [], isUp: true },
      { name: 'lonely', members: ['tap0'], uplinks: [], addresses: [], isUp: false },
      {
        ...{ name: 'xenbr0', members: ['eth0', 'vif1.0'], uplinks: ['eth0'], isUp: true },
        addresses: ['10.180.255.1/14', '2001:db8::1/64', '172.16.0.1/16'],
      },
    ],
    xlBridge: undefined,
    xlScript: undefined,
  });
});

t.test('what xl.conf says counts, what xl cannot read does not', async (t) => {
  const folder = sysfs(t);
  const conf = join(folder, 'xl.conf');
  writeFileSync(conf, '# by hand\nautoballoon="auto"\nvif.default.bridge="br7"\nvif.default.script="vif-nat"\n');
  t.match(await read(folder), { xlBridge: 'br7', xlScript: 'vif-nat' });
  writeFileSync(conf, '#vif.default.bridge="xenbr0"\n');
  t.match(await read(folder), { xlBridge: undefined, xlScript: undefined });
  writeFileSync(conf, 'vif.default.bridge="br7\n');
  t.match(await read(folder), { xlBridge: undefined });
});

t.test('a loop of interfaces ends, and no sysfs is no answer', async (t) => {
  const link = (target: string) => t.fixture('symlink', target);
  const folder = t.testdir({
    net: {
      a: { lower_b: link('../b') },
      b: { lower_a: link('../a') },
      br: { bridge: {}, brif: { a: link('../../a') } },
    },
  });
  t.match(await read(folder), { bridges: [{ name: 'br', uplinks: [] }] });
  await t.rejects(read(join(folder, 'nothing')), { code: 'unavailable' });
  mkdirSync(join(folder, 'empty', 'net'), { recursive: true });
  t.match(await read(join(folder, 'empty')), { bridges: [] });
});
