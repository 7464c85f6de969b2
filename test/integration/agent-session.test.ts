import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { AgentApp, type AgentParts } from '../../agent/app.js';
import { parseSimOptions } from '../../agent/domain/sim-option.js';
import type { Clock } from '../../agent/ports/clock.js';
import { systemClock } from '../../agent/adapters/system/system-clock.js';
import { SystemHostReport } from '../../agent/adapters/system/system-host-report.js';
import { joinController } from '../../agent/services/joining.js';
import { openSimParts } from '../../agent/sim-parts.js';
import { parseIpv4 } from '../../shared/domain/ipv4.js';
import { VmState } from '../../shared/gen/domherd/v1/vm.js';
import { LEASE_ENDS_AT, TestController, configureOrder } from './agent-test-controller.js';

const LOG = pino({ level: process.env['AGENT_TEST_LOG'] ?? 'silent' }, pino.destination({ dest: 2, sync: true }));
const NEVER = new AbortController().signal;
const HOST_REPORT = new SystemHostReport();

interface Rig {
  readonly controller: TestController;
  readonly stateDir: string;
  /** A controller that has nothing to do with the first. */
  readonly startOther: () => Promise<TestController>;
  readonly key: (name: string) => string;
  readonly open: (clock?: Clock) => Promise<AgentParts>;
  readonly join: () => Promise<void>;
  /** Another life of the agent on the same state folder. */
  readonly run: () => Promise<AgentApp>;
}

async function makeRig(t: Test, sim: readonly string[] = []): Promise<Rig> {
  const root = t.testdir({ controller: {}, other: {} });
  const stateDir = join(root, 'agent');
  const controller = await TestController.start(join(root, 'controller'));
  const apps: AgentApp[] = [];
  t.teardown(async () => {
    await Promise.all(apps.map((app) => app.stop()));
    controller.stop();
  });
  const options = parseSimOptions(['vms=2', 'boot-ms=20', ...sim]);
  const open = (clock = systemClock): Promise<AgentParts> =>
    openSimParts({ stateDir, sim: options, log: LOG, clock, hostReport: HOST_REPORT });
  return {
    controller,
    stateDir,
    startOther: async () => {
      const other = await TestController.start(join(root, 'other'));
      t.teardown(() => other.stop());
      return other;
    },
    key: (name) => join(stateDir, 'sim', 'xen', `${name}.cfg`),
    open,
    join: async () => void (await joinController(controller.token(), 'dom0-1', await open(), NEVER)),
    run: async () => {
      const app = new AgentApp({ ...(await open()), random: () => 0 });
      await app.start(NEVER);
      apps.push(app);
      return app;
    },
  };
}

t.test('joining', (t) => {
  t.test('gets an identity by a token, from the first address that answers', async (t) => {
    const { controller, open, stateDir } = await makeRig(t);
    const parts = await open();
    const token = controller.token(['127.0.0.1:1', controller.joinAddress]);
    const identity = await joinController(` ${token}\n`, 'Dom0-1', parts, NEVER);
    t.match(identity, { host: 'dom0-1', addresses: [controller.sessionAddress] });
    t.strictSame(await parts.identities.load(), identity);
    const deployment = await parts.deployment.readDeployment();
    t.match(controller.joins, [{ host: 'dom0-1', deploymentId: deployment.id }]);
    t.strictSame(await parts.deploymentRecord.read(), deployment, 'the next boot is no new deployment');
    t.ok(identity.keyPem.includes('PRIVATE KEY'));
    t.notOk(existsSync(join(stateDir, 'join.key')));
  });

  t.test('refuses a controller that did not make the token, and leaves no identity', async (t) => {
    const { controller, open, stateDir, startOther } = await makeRig(t);
    const parts = await open();
    const cases = [
      { name: 'another CA', token: controller.token(undefined, 'ab'.repeat(32)), code: 'unauthenticated' },
      { name: 'nobody answers', token: controller.token(['127.0.0.1:1']), code: 'unavailable' },
      { name: 'no token', token: '\n', code: 'invalid' },
      { name: 'half a token', token: controller.token().slice(0, 40), code: 'invalid' },
    ];
    for (const c of cases) await t.rejects(joinController(c.token, 'dom0-1', parts, NEVER), { code: c.code }, c.name);
    t.equal(controller.joins.length, 0, 'the secret was shown to nobody');
    const other = await startOther();
    await t.rejects(
      joinController(other.token([controller.joinAddress], controller.authority.pin), 'dom0-1', parts, NEVER),
      {
        code: 'unauthenticated',
      },
    );
    t.equal(await parts.identities.load(), undefined);
    t.ok(readFileSync(join(stateDir, 'join.key')), 'the key is kept for the next try');
    await joinController(controller.token(), 'dom0-1', parts, NEVER);
    t.equal(controller.joins.at(-1)?.csr.length, controller.joins[0]?.csr.length);
  });

  t.test('an address of somebody else does not hide the controller behind the next one', async (t) => {
    const { controller, open, startOther } = await makeRig(t);
    const other = await startOther();
    await joinController(controller.token([other.joinAddress, controller.joinAddress]), 'dom0-1', await open(), NEVER);
    t.equal(other.joins.length, 0);
  });

  t.test('says how far the clock is off', async (t) => {
    const { controller, open } = await makeRig(t);
    const off = (ms: number): Clock => ({ ...systemClock, nowMs: () => Date.now() + ms });
    for (const [ms, message] of [
      [-60 * 86_400_000, /at least (30d|29d23h59m)\S* behind/],
      [3 * 86_400_000, /ahead.*ran out 2d/],
    ] as const) {
      const parts = await open(off(ms));
      await t.rejects(joinController(controller.token(), 'dom0-1', parts, NEVER), { code: 'wrong_state', message });
    }
  });
  t.end();
});

t.test('a session', (t) => {
  t.test('tells everything, carries out orders and tells what changed', async (t) => {
    const { controller, run, join: joinHost, key, stateDir, open } = await makeRig(t);
    await joinHost();
    const held = { kind: 'vm.held', message: 'held', vmKey: key('domU'), details: { path: '/auto' } };
    await (await open()).backlog.append([held]);
    await run();
    const session = await controller.session(1);
    t.match(session.hello, { simulated: true, sessionCounter: 1, protocol: { major: 1 }, facts: { xenVersion: '' } });
    const vms = await session.wait((one) => (one.$case === 'fullState' ? one.value.vms : undefined));
    t.match(vms, [
      { key: key('domU'), name: 'domU', state: VmState.STOPPED, memoryMib: 512, vifs: [{ mac: '00:16:3e:1e:5b:0c' }] },
      { key: key('domU2'), name: 'domU2', state: VmState.STOPPED, vifs: [{ mac: '00:16:3e:1e:5b:0c' }] },
    ]);
    const configured = await session.order('c', key('domU'), configureOrder('10.180.0.7', '00:16:3e:b4:00:07'));
    t.match(configured, { errorCode: '', vm: { vifs: [{ mac: '00:16:3e:b4:00:07', guestAddress: '10.180.0.7' }] } });
    t.match(readFileSync(key('domU'), 'latin1'), "vif         = [ 'mac=00:16:3e:b4:00:07, bridge=xenbr0' ]");
    const leases = JSON.parse(readFileSync(join(stateDir, 'leases.json'), 'utf8')) as unknown;
    const record = {
      cfgPath: key('domU'),
      vifIndex: 0,
      address: parseIpv4('10.180.0.7'),
      endsAtMs: LEASE_ENDS_AT.getTime(),
    };
    t.match(leases, [record], 'a boot without the controller knows it');
    session.say({
      $case: 'leases',
      value: {
        leases: [
          { cfgPath: key('domU'), vifIndex: 0, address: '10.180.0.7', mac: '00:16:3e:b4:00:07', endsAt: new Date(7) },
        ],
      },
    });
    const told = await session.wait((one) => (one.$case === 'event' ? one.value : undefined));
    t.strictSame(told, held);
    const started = await session.order('s', key('domU'), { $case: 'start', value: {} });
    t.equal(started.errorCode, '');
    await session.wait((one) =>
      one.$case === 'change' && one.value.changed.some((vm) => vm.state === VmState.RUNNING) ? true : undefined,
    );
    t.ok(session.messages.some((one) => one.$case === 'progress' && one.value.orderId === 'c'));
    const refused = await session.order('c2', key('domU'), configureOrder('10.180.0.8', '00:16:3e:b4:00:08'));
    t.match(refused, { errorCode: 'wrong_state', vm: { state: VmState.RUNNING } });
    const none = await session.order('n', '/none.cfg', { $case: 'start', value: {} });
    const kept = JSON.parse(readFileSync(join(stateDir, 'leases.json'), 'utf8')) as unknown;
    t.match(kept, [{ ...record, endsAtMs: 7 }], 'and what became of it');
    t.match(none, { errorCode: 'not_found', vm: undefined });
    const odd = await session.order('o', key('domU'), {
      $case: 'shutdown',
      value: { timeoutSeconds: 0, destroyAfter: false },
    });
    t.equal(odd.errorCode, 'invalid');
    const empty = await session.order('e', key('domU'), undefined);
    t.equal(empty.errorCode, 'invalid');
  });

  t.test('says that the wire has somebody else, and ends what is cancelled or late', async (t) => {
    const options = ['in-use=10.180.0.5', 'ignore-shutdown=domU', 'ignore-shutdown=domU2', 'boot-ms=0'];
    const { controller, run, join: joinHost, key } = await makeRig(t, options);
    await joinHost();
    await run();
    const session = await controller.session(1);
    const taken = await session.order('t', key('domU'), configureOrder('10.180.0.5', '00:16:3e:b4:00:05'));
    t.match(taken, { errorCode: 'already_exists', details: { address: '10.180.0.5', seenMac: '02:00:0a:b4:00:05' } });
    for (const name of ['domU', 'domU2']) await session.order(`s${name}`, key(name), { $case: 'start', value: {} });
    const cancelled = session.order('c', key('domU'), {
      $case: 'shutdown',
      value: { timeoutSeconds: 600, destroyAfter: false },
    });
    const late = session.order(
      'l',
      key('domU2'),
      { $case: 'shutdown', value: { timeoutSeconds: 600, destroyAfter: false } },
      1000,
    );
    await session.wait((one) => (one.$case === 'progress' && one.value.orderId === 'c' ? true : undefined));
    session.say({ $case: 'cancel', value: { orderId: 'c' } });
    t.equal((await cancelled).errorCode, 'unavailable');
    t.match(await late, { errorCode: 'timeout', vm: { state: VmState.RUNNING } });
  });

  t.test('comes again after it broke; an order that comes again is not run again', async (t) => {
    const { controller, run, join: joinHost, key } = await makeRig(t);
    await joinHost();
    await run();
    const first = await controller.session(1);
    await first.order('s', key('domU'), { $case: 'start', value: {} });
    await first.order('d', key('domU'), { $case: 'destroy', value: {} });
    first.drop(status.UNAVAILABLE);
    const second = await controller.session(2);
    t.equal(second.hello.sessionCounter, 2);
    const now = { orderId: 's', errorCode: '', vm: { state: VmState.STOPPED } };
    t.match(
      await second.result('s'),
      now,
      'what the first one may have lost comes by itself, with the VM as it is now',
    );
    second.messages.length = 0;
    t.match(await second.order('s', key('domU'), { $case: 'start', value: {} }), now);
    const after = await second.order('x', key('domU'), { $case: 'destroy', value: {} });
    t.equal(after.vm?.state, VmState.STOPPED);
    t.equal(second.results('s').length, 1);
  });

  t.test('a restarted agent finds its domains, and its orders', async (t) => {
    const { controller, run, join: joinHost, key } = await makeRig(t);
    await joinHost();
    const agent = await run();
    const first = await controller.session(1);
    const started = await first.order('s', key('domU'), { $case: 'start', value: {} });
    await agent.stop();
    await run();
    const second = await controller.session(2);
    const vms = await second.wait((one) => (one.$case === 'fullState' ? one.value.vms : undefined));
    t.equal(vms.find((vm) => vm.name === 'domU')?.uuid, started.vm?.uuid, 'the same life of the domain');
    t.match(await second.order('s', key('domU'), { $case: 'start', value: {} }), {
      errorCode: '',
      vm: { uuid: started.vm?.uuid },
    });
  });

  t.test('has heartbeats with metrics of what runs', async (t) => {
    const { controller, run, join: joinHost, key } = await makeRig(t, ['boot-ms=0']);
    controller.heartbeatMs = 100;
    await joinHost();
    await run();
    const session = await controller.session(1);
    await session.order('s', key('domU'), { $case: 'start', value: {} });
    const metrics = await session.wait((one) =>
      one.$case === 'heartbeat' ? one.value.metrics[key('domU')] : undefined,
    );
    t.ok(metrics.sampledAt);
  });
  t.end();
});

t.test('the certificate', (t) => {
  t.test('is renewed on the session when two thirds of its life are over', async (t) => {
    const { controller, run, join: joinHost, open } = await makeRig(t);
    // Certificates begin ten minutes in the past: of this one, most is over.
    controller.lives.push(60_000);
    await joinHost();
    const before = await (await open()).identities.load();
    await run();
    await controller.session(1);
    const { identities } = await open();
    while ((await identities.load())?.certificatePem === before?.certificatePem) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    const after = await identities.load();
    t.not(after?.keyPem, before?.keyPem);
    t.equal(controller.renewals, 1);
    controller.sessions[0]?.drop();
    await controller.session(2);
    t.equal(controller.joins.length, 1, 'the new one is good for a session');
  });

  t.test('that ran out is renewed by its own proof', async (t) => {
    const { controller, run, join: joinHost } = await makeRig(t);
    controller.lives.push(0);
    await joinHost();
    await run();
    await controller.session(1);
    t.match(controller.joins[1], { host: 'dom0-1', proof: { $case: 'expired' } });
  });
  t.end();
});

t.test('a NIC that was plugged in makes no other deployment', async (t) => {
  const { controller, open, join: joinHost } = await makeRig(t);
  await joinHost();
  const parts = await open();
  const { id } = await parts.deployment.readDeployment();
  const facts = { rootFs: 'ext:a:1', machine: 'b', macs: ['02:00:00:00:00:00'] };
  await parts.deploymentRecord.write({ id, facts });
  const present = { id: 'of-two-nics', facts: { ...facts, macs: [...facts.macs, '02:00:00:00:00:01'] } };
  const deployment = { ...parts.deployment, readDeployment: () => Promise.resolve(present) };
  const app = new AgentApp({ ...parts, deployment });
  t.teardown(() => app.stop());
  await app.start(NEVER);
  const session = await controller.session(1);
  t.match(session.hello, { deploymentId: id });
});

t.test('the identity is of one deployment of one machine', async (t) => {
  const { stateDir, run, join: joinHost, open } = await makeRig(t);
  await t.rejects(run(), { code: 'wrong_state' }, 'not joined');
  await joinHost();
  rmSync(join(stateDir, 'sim'), { recursive: true });
  await t.rejects(run(), { code: 'wrong_state', message: /another deployment/ });
  t.ok(readdirSync(stateDir).includes('identity.moved-1'));
  t.equal(await (await open()).identities.load(), undefined);
});
