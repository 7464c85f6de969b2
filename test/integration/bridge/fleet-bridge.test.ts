import t from 'tap';
import type { ObservedVm } from '../../../controller/domain/vm.js';
import { BridgeQuery } from '../../../controller/services/bridge-query.js';
import { imageVm } from '../../fakes/fake-agent.js';
import { ADMIN, collect, FleetWorld, resultsOf } from '../../fakes/fleet-world.js';

const never = new AbortController().signal;
const ALL = { names: [], all: true };
const named = (...names: string[]) => ({ names, all: false });
const addressing = { reservation: undefined, address: undefined, isDryRun: false };

await t.test('bridges', async (t) => {
  const bridge = (name: string, addresses: string[] = []) => ({
    ...{ name, members: ['eth0'], uplinks: ['eth0'], addresses, isUp: true },
  });
  const hostBridges = (...names: string[]) => ({
    bridges: names.map((name, n) => bridge(name, n === 0 ? ['10.180.255.1/14'] : [])),
    ...{ xlBridge: undefined, xlScript: undefined },
  });
  const onBridge = (name: string, bridge: string | undefined) =>
    imageVm({ key: `/etc/xen/${name}.cfg`, name, vifs: imageVm().vifs.map((vif) => ({ ...vif, bridge })) });

  async function hostWith(bridges: ReturnType<typeof hostBridges> | undefined, ...vms: ObservedVm[]) {
    const world = new FleetWorld();
    const agent = world.host('dom0-1', vms);
    agent.bridges = bridges;
    await agent.connect();
    return { world, agent };
  }

  await t.test('the plan has the bridge of each vif and why, and the order has what was asked for', async (t) => {
    const { world, agent } = await hostWith(
      hostBridges('br0', 'br1'),
      onBridge('kept', 'br1'),
      onBridge('bare', undefined),
    );
    const plan = async (bridge?: string) => {
      const request = { ...addressing, selector: ALL, isDryRun: true, bridge };
      const [first] = await collect(world.addresser.address(request, ADMIN, never));
      return first?.kind === 'plan' ? first : undefined;
    };
    t.match(await plan(), { warnings: [/^vif 0 of bare@dom0-1 names no bridge, .*--bridge br0/] });
    t.strictSame(
      (await plan('br0'))?.steps.filter(({ action }) => /bridge/.test(action)).map(({ vm, detail }) => [vm, detail]),
      [
        ['bare', 'vif 0: none -> br0, it was asked for'],
        ['kept', 'vif 0: br1, its cfg names it'],
      ],
    );
    const refused = await resultsOf(world.addresser.address({ ...addressing, selector: named('bare') }, ADMIN, never));
    t.match(refused, [{ code: 'wrong_state', details: { hint: 'domherd vm address bare@dom0-1 --bridge br0' } }]);
    t.same(world.allLeases(), [], 'no lease was taken for it');
    t.same(agent.received, []);
    const request = { ...addressing, selector: named('bare'), bridge: 'br0' };
    t.match(await resultsOf(world.addresser.address(request, ADMIN, never)), [{ code: undefined }]);
    t.match(agent.ran[0]?.action, { kind: 'configure', vifs: [{ bridge: 'br0' }] });
    const wrong = { ...addressing, selector: named('bare'), bridge: 'br9' };
    agent.change('/etc/xen/bare.cfg', onBridge('bare', undefined));
    await agent.set('/etc/xen/bare.cfg', {});
    t.match(await resultsOf(world.addresser.address(wrong, ADMIN, never)), [
      { code: 'not_found', message: /br9: the host has br0 \(uplink eth0, has dom0's address\), br1/ },
    ]);
  });

  await t.test('are listed with their VMs, and stay known when the host is gone', async (t) => {
    const { world, agent } = await hostWith(
      hostBridges('br0'),
      onBridge('b', 'br0'),
      onBridge('a', 'br0'),
      onBridge('c', 'x'),
    );
    const query = new BridgeQuery({ fleet: world.fleet });
    t.match(query.list(undefined), [
      {
        ...{ host: 'dom0-1', isStale: false, bridges: [{ bridge: { name: 'br0' }, vms: ['a', 'b'] }] },
        chosen: { bridge: 'br0', reason: /^the only bridge/ },
      },
    ]);
    agent.session?.bridges(hostBridges('br0', 'br1'));
    t.match(query.list('dom0-1'), [{ chosen: { bridge: undefined, reason: /names no bridge, and the host has 2/ } }]);
    agent.kill();
    t.match(query.list(undefined), [{ isStale: true, bridges: [{ vms: ['a', 'b'] }, { vms: [] }] }]);
    agent.bridges = undefined;
    await agent.connect();
    t.match(query.list(undefined), [{ isStale: false, bridges: undefined, chosen: { reason: /has not told/ } }]);
    t.throws(() => query.list('dom0-9'), { code: 'not_found' });
  });

  await t.test('of a session that was replaced say nothing any more', async (t) => {
    const { world, agent } = await hostWith(hostBridges('br0'));
    const former = agent.session!;
    agent.bridges = hostBridges('br1');
    await agent.connect();
    former.bridges(hostBridges('br7'));
    await former.fullState([], hostBridges('br7'));
    t.match(world.fleet.bridgesOf(1), { bridges: [{ name: 'br1' }] });
  });
});
