import t from 'tap';
import {
  bridgeError,
  chooseBridge,
  defaultBridge,
  refuseCreate,
  type BridgeChoice,
  type HostBridges,
  type VifBridge,
} from '../../../../shared/domain/bridge.js';

function host(names: readonly string[], conf: Partial<HostBridges> = {}): HostBridges {
  const bridges = names.map((name) => ({ name, members: [], uplinks: [], addresses: [], isUp: true }));
  return { bridges, xlBridge: undefined, xlScript: undefined, ...conf };
}

function show(choice: BridgeChoice): string {
  if (choice.kind === 'refused') return `${choice.refusal.code}: ${choice.refusal.message}`;
  return [choice.kind, 'bridge' in choice ? choice.bridge : '', choice.reason].filter(Boolean).join(', ');
}

const cases: { name: string; vif: VifBridge; host: HostBridges; want: string | RegExp }[] = [
  {
    name: 'a named one that exists',
    vif: { named: 'br1' },
    host: host(['br0', 'br1']),
    want: 'kept, br1, its cfg names it',
  },
  {
    name: 'a named one that exists, though another is asked for',
    vif: { named: 'br1', wanted: 'br0' },
    host: host(['br0', 'br1']),
    want: /^kept, br1/,
  },
  {
    name: 'the only one',
    vif: { named: undefined },
    host: host(['xenbr0']),
    want: 'chosen, xenbr0, the only bridge of the host',
  },
  {
    name: 'the only one, which xl would not take',
    vif: { named: undefined },
    host: host(['br0']),
    want: 'chosen, br0, the only bridge of the host; xl by itself would take xenbr0, which is not there',
  },
  {
    name: 'none',
    vif: { named: undefined },
    host: host([]),
    want: 'wrong_state: names no bridge, and the host has none',
  },
  {
    name: 'two, although xl has a default among them',
    vif: { named: undefined },
    host: host(['br1', 'xenbr0']),
    want: 'wrong_state: names no bridge, and the host has 2: br1 (no uplink), xenbr0 (no uplink)',
  },
  {
    name: 'two, of which xl.conf names one',
    vif: { named: undefined },
    host: host(['br0', 'br1'], { xlBridge: 'br1' }),
    want: 'chosen, br1, xl.conf has it as vif.default.bridge',
  },
  {
    name: 'two, of which xl.conf names a third',
    vif: { named: undefined },
    host: host(['br0', 'br1'], { xlBridge: 'br7' }),
    want: /has 2: .*; xl by itself would take br7, which is not there$/,
  },
  {
    name: 'two, one asked for',
    vif: { named: undefined, wanted: 'br1' },
    host: host(['br0', 'br1']),
    want: 'chosen, br1, it was asked for',
  },
  {
    name: 'one that is not there asked for',
    vif: { named: undefined, wanted: 'x' },
    host: host(['br0']),
    want: 'not_found: cannot be put on x: the host has br0 (no uplink)',
  },
  {
    name: 'a named one that is not there',
    vif: { named: 'br9' },
    host: host(['br0']),
    want: 'wrong_state: names bridge br9, which is not there: the host has br0 (no uplink)',
  },
  {
    name: 'a named one that is not there, another asked for',
    vif: { named: 'br9', wanted: 'br0' },
    host: host(['br0']),
    want: /^chosen, br0/,
  },
  {
    name: 'the name of old that vif-bridge maps',
    vif: { named: 'xenbr1' },
    host: host(['eth0', 'eth1']),
    want: /xenbr1, which is not there: .*; vif-bridge would silently take eth1 for it$/,
  },
  {
    name: 'a script of its own',
    vif: { named: 'ovs0', script: '/etc/xen/scripts/vif-openvswitch' },
    host: host([]),
    want: 'unbridged, its script is vif-openvswitch',
  },
  {
    name: 'vif-bridge by its path',
    vif: { named: undefined, script: '/etc/xen/scripts/vif-bridge' },
    host: host(['a']),
    want: /^chosen, a/,
  },
  {
    name: 'a script of xl.conf',
    vif: { named: undefined },
    host: host([], { xlScript: 'vif-route' }),
    want: 'unbridged, its script is vif-route',
  },
];

t.test('the bridge of a vif, and why', (t) => {
  for (const c of cases) {
    const got = show(chooseBridge(c.vif, c.host));
    if (typeof c.want === 'string') t.equal(got, c.want, c.name);
    else t.match(got, c.want, c.name);
  }
  t.end();
});

t.test('candidates are told with what sets them apart', (t) => {
  const bridges = [
    { name: 'a', members: ['eth0', 'vif1.0'], uplinks: ['eth0'], addresses: ['10.0.0.1/8'], isUp: true },
    { name: 'b', members: [], uplinks: [], addresses: [], isUp: true },
  ];
  const choice = defaultBridge({ bridges, xlBridge: undefined, xlScript: undefined });
  t.match(show(choice), "a (uplink eth0, has dom0's address), b (no uplink)");
  t.end();
});

t.test('a domain is not made of a cfg that leaves its bridge to chance', (t) => {
  const refuse = (vifs: readonly VifBridge[], on: HostBridges) =>
    refuseCreate(
      'domU',
      vifs.map((vif, index) => ({ ...vif, index })),
      on,
    );
  t.equal(refuse([], host([])), undefined, 'one without a vif needs none');
  t.equal(refuse([{ named: 'a' }, { named: undefined, script: 'vif-route' }], host(['a', 'b'])), undefined);
  t.equal(refuse([{ named: undefined }], host(['xenbr0'])), undefined, "xl's own default is the only one");
  t.equal(refuse([{ named: undefined }], host(['a', 'b'], { xlBridge: 'b' })), undefined);
  t.match(refuse([{ named: 'a' }, { named: undefined }], host(['a', 'b'])), {
    code: 'wrong_state',
    message: /^vif 1 of domU names no bridge, and the host has 2/,
    details: { vif: '1', hint: 'domherd vm address domU --bridge a' },
  });
  t.match(refuse([{ named: undefined }], host(['br0'])), {
    message: /xenbr0, which xl would take, is not there/,
    details: { hint: 'domherd vm address domU --bridge br0' },
  });
  t.match(refuse([{ named: undefined }], host([])), { details: { hint: /domherd makes and changes no bridge/ } });
  t.match(bridgeError({ code: 'wrong_state', message: 'm', suggestion: 'b' }, 'd@h', 3), { message: 'vif 3 of d@h m' });
  t.end();
});
