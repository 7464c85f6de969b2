import fc from 'fast-check';
import t from 'tap';
import { parseIpv4 } from '../../../../shared/domain/ipv4.js';
import { isMulticastMac, parseMac } from '../../../../shared/domain/mac.js';
import { holdUnwritten, planBoot, type BootFacts, type BootPlan } from '../../../../agent/domain/boot-plan.js';
import { bootEvents, formatBootJson, formatBootText } from '../../../../agent/domain/boot-report.js';
import { isNewDeployment, type DeploymentFacts } from '../../../../agent/domain/deployment.js';
import { withRecords, type LeaseRecord } from '../../../../agent/domain/lease-record.js';
import { listVifs } from '../../../../agent/domain/xl-cfg/vif.js';
import { parseXlCfg } from '../../../../agent/domain/xl-cfg/xl-cfg.js';
import { parseXendomains } from '../../../../agent/domain/xendomains.js';

const NOW_MS = Date.parse('2026-03-02T08:00:00Z');

function facts(texts: Readonly<Record<string, string>>, change: Partial<BootFacts> = {}): BootFacts {
  const files = Object.entries(texts).map(([path, text]) => ({ kind: 'text', path, text }) as const);
  const nothing = { autostart: [], savedStates: [], leases: [] };
  return { files, ...nothing, isNewDeployment: false, policy: 'deployment', nowMs: NOW_MS, ...change };
}

function plan(texts: Readonly<Record<string, string>>, change: Partial<BootFacts> = {}): BootPlan {
  return planBoot(facts(texts, change), counter());
}

/** 00:16:3e:d0:00:01 and up. */
function counter(): () => number {
  let n = 0xd00000;
  return () => (n += 1);
}

function lease(cfgPath: string, change: Partial<LeaseRecord> = {}): LeaseRecord {
  const [address, mac] = [parseIpv4('10.180.0.1'), parseMac('00:16:3e:b4:00:01')];
  return { cfgPath, vifIndex: 0, address, mac, deploymentId: 'd', endsAtMs: NOW_MS + 1, ...change };
}

const show = ({ vifs }: BootPlan): string[] =>
  vifs.map((vif) => `${vif.vif} ${vif.old ?? '-'} ${vif.new} ${vif.reason}`);
const textOf = ({ rewrites }: BootPlan, path: string): string | undefined =>
  rewrites.find((one) => one.path === path)?.after;

t.test('a MAC for every shape of vif', (t) => {
  const cases: { name: string; before: string; after: string; vifs: string[] }[] = [
    {
      name: 'one that is right stays as it is written',
      before: `vif = [ 'mac=00:16:3E:84:08:01, bridge=eth0' ]`,
      after: `vif = [ 'mac=00:16:3E:84:08:01, bridge=eth0' ]`,
      vifs: ['0 00:16:3E:84:08:01 00:16:3E:84:08:01 kept'],
    },
    {
      name: 'an empty one gets one',
      before: `vif = ['']`,
      after: `vif = ['mac=00:16:3e:d0:00:01']`,
      vifs: ['0 - 00:16:3e:d0:00:01 no mac'],
    },
    {
      name: 'one without gets one, in the spacing of its neighbours',
      before: `vif=["ip=10.0.0.3, bridge=br0"]`,
      after: `vif=["ip=10.0.0.3, bridge=br0, mac=00:16:3e:d0:00:01"]`,
      vifs: ['0 - 00:16:3e:d0:00:01 no mac'],
    },
    {
      name: 'a place holder',
      before: `vif = ['mac=00:16:3E:xx:xx:xx,bridge=br0']`,
      after: `vif = ['mac=00:16:3e:d0:00:01,bridge=br0']`,
      vifs: ['0 00:16:3E:xx:xx:xx 00:16:3e:d0:00:01 place holder'],
    },
    {
      name: 'zeros, for which libxl invents another one each time',
      before: `vif = ['mac=00:00:00:00:00:00']`,
      after: `vif = ['mac=00:16:3e:d0:00:01']`,
      vifs: ['0 00:00:00:00:00:00 00:16:3e:d0:00:01 no mac'],
    },
    {
      name: 'multicast and broadcast',
      before: `vif = ['mac=01:16:3e:00:00:01', 'mac=ff:ff:ff:ff:ff:ff']`,
      after: `vif = ['mac=00:16:3e:d0:00:01', 'mac=00:16:3e:d0:00:02']`,
      vifs: ['0 01:16:3e:00:00:01 00:16:3e:d0:00:01 multicast', '1 ff:ff:ff:ff:ff:ff 00:16:3e:d0:00:02 multicast'],
    },
    {
      name: 'two of one file with the same, over vif = and vif +=',
      before: `vif = [ 'mac=00:16:3e:00:00:01',\n  # mac=00:16:3e:00:00:01\n]\nvif += [ 'mac=00:16:3e:00:00:01, type=ioemu', '' ]`,
      after: `vif = [ 'mac=00:16:3e:00:00:01',\n  # mac=00:16:3e:00:00:01\n]\nvif += [ 'mac=00:16:3e:d0:00:01, type=ioemu', 'mac=00:16:3e:d0:00:02' ]`,
      vifs: [
        '0 00:16:3e:00:00:01 00:16:3e:00:00:01 kept',
        '1 00:16:3e:00:00:01 00:16:3e:d0:00:01 duplicate',
        '2 - 00:16:3e:d0:00:02 no mac',
      ],
    },
    {
      name: 'what looks like a MAC elsewhere is left alone',
      before: `# mac=00:16:3e:xx:xx:xx\nextra = "mac=00:16:3e:00:00:09"; vif = [ 'bridge=br0,model=e1000' ] # vif = ['']`,
      after: `# mac=00:16:3e:xx:xx:xx\nextra = "mac=00:16:3e:00:00:09"; vif = [ 'bridge=br0,model=e1000,mac=00:16:3e:d0:00:01' ] # vif = ['']`,
      vifs: ['0 - 00:16:3e:d0:00:01 no mac'],
    },
    { name: 'no vif at all', before: `name = 'a'; vif = []`, after: `name = 'a'; vif = []`, vifs: [] },
  ];
  for (const c of cases) {
    const made = plan({ a: `${c.before}\n` });
    t.strictSame(show(made), c.vifs, c.name);
    t.equal(textOf(made, 'a') ?? `${c.before}\n`, `${c.after}\n`, c.name);
    t.strictSame(made.refusals, [], c.name);
  }
  t.end();
});

t.test('when a vif gets a new MAC', (t) => {
  const texts = { a: `vif = ['mac=00:16:3e:00:00:01']\n`, b: `vif = ['mac=00:16:3e:00:00:01']\n` };
  t.strictSame(show(plan(texts)), [
    '0 00:16:3e:00:00:01 00:16:3e:00:00:01 kept',
    '0 00:16:3e:00:00:01 00:16:3e:d0:00:01 duplicate',
  ]);
  t.match(show(plan(texts, { isNewDeployment: true })), [/d0:00:01 new deployment/, /d0:00:02 new deployment/]);
  t.match(show(plan(texts, { policy: 'every-boot' })), [/d0:00:01 every boot/, /d0:00:02 every boot/]);

  const leases = [lease('b', { mac: parseMac('00:16:3e:00:00:01') })];
  t.match(show(plan(texts, { leases })), [/d0:00:01 duplicate/, /00:00:01 leased/], 'whose lease it is keeps it');
  t.match(show(plan(texts, { leases, policy: 'every-boot' })), [/d0:00:01 every boot/, /00:00:01 leased/]);
  t.match(show(plan(texts, { leases, isNewDeployment: true })), [/new deployment/, /new deployment/]);
  const ended = [lease('b', { mac: parseMac('00:16:3e:00:00:01'), endsAtMs: NOW_MS })];
  t.match(show(plan(texts, { leases: ended, policy: 'every-boot' })), [/every boot/, /every boot/]);
  t.match(show(plan(texts, { leases: [lease('a'), lease('b', { vifIndex: 1 })] })), [
    '0 00:16:3e:00:00:01 00:16:3e:b4:00:01 leased',
    '0 00:16:3e:00:00:01 00:16:3e:00:00:01 kept',
  ]);
  const twice = plan({ a: `vif = ['','']\n` }, { leases: [lease('a'), lease('a', { vifIndex: 1 })] });
  t.match(show(twice), [/b4:00:01 leased/, /d0:00:01 no mac/], 'a clash of leases falls to random');
  t.end();
});

t.test('random MACs are never ones that are known, and end after 64 tries', (t) => {
  const texts = { a: `vif = ['','mac=00:16:3e:00:00:01']\n`, b: `vif = ['mac=00:16:3e:00:00:05']\n` };
  const python = { kind: 'refused', path: 'py', problem: 'python', text: `mac = "00:16:3E:00:00:02" + x` } as const;
  const change = { leases: [lease('gone', { mac: parseMac('00:16:3e:00:00:03') })], isNewDeployment: true };
  const draws = [1, 2, 3, 4, 4, 5, 6, 7];
  const made = planBoot({ ...facts(texts, change), files: [...facts(texts).files, python] }, () => draws.shift() ?? 0);
  t.match(
    show(made),
    [/00:00:04 no mac/, /00:00:06 new deployment/, /00:00:07/],
    'those before, refused and leased ones',
  );

  let drawn = 0;
  const stuck = planBoot(facts({ ...texts, c: `name = 'c'\n` }), () => ((drawn += 1), 1));
  t.equal(drawn, 64);
  t.match(stuck.refusals, [{ file: 'a', reason: /64/ }]);
  t.match(show(stuck), [/00:00:05 kept/], 'the others have theirs');
  t.strictSame(stuck.rewrites, []);
  t.end();
});

t.test('what is refused is not rewritten', (t) => {
  const files = {
    python: `import os\nvif = ['']\n`,
    broken: `vif = [ 'mac=00:16:3e:00:00:01\n`,
    wrong: `vif = [ 'mac=nonsense' ]\n`,
    number: `vif = [ 1 ]\n`,
    good: `vif = ['']\n`,
  };
  const made = plan(files);
  t.strictSame(
    made.refusals.map(({ file }) => file),
    ['python', 'broken', 'wrong', 'number'],
  );
  t.strictSame(
    made.rewrites.map(({ path }) => path),
    ['good'],
  );
  t.end();
});

t.test('what is held back from xendomains', (t) => {
  const texts = { vm: `vif = ['mac=00:16:3e:00:00:01']\n`, offline: `name = 'a'\n`, broken: `vif = [\n` };
  const autostart = ['vm', 'offline', 'broken', 'nowhere'].map((file) => ({ path: `auto/${file}`, file }));
  const held = (change: Partial<BootFacts>): string[] =>
    plan(texts, { autostart, savedStates: ['save/vm'], ...change }).holds.map(({ path, kind }) => `${kind} ${path}`);
  const always = ['autostart auto/broken', 'autostart auto/nowhere'];
  t.strictSame(held({}), always);
  t.strictSame(held({ isNewDeployment: true }), ['autostart auto/vm', ...always, 'saved state save/vm']);
  t.strictSame(held({ leases: [lease('vm')] }), always, 'its lease is live');
  t.strictSame(held({ leases: [lease('vm', { endsAtMs: undefined })] }), always, 'no end is known');
  t.strictSame(held({ leases: [lease('vm', { endsAtMs: NOW_MS })] }), ['autostart auto/vm', ...always]);

  const failures = [{ file: 'vm', reason: 'disk full' }];
  t.match(holdUnwritten(autostart, [], failures), [{ kind: 'autostart', path: 'auto/vm', reason: 'disk full' }]);
  const already = [{ kind: 'autostart', path: 'auto/vm', reason: 'x' }] as const;
  t.strictSame(holdUnwritten(autostart, already, failures), [], 'once is enough');
  t.end();
});

// Octets that make duplicates, multicast ones, zeros and place holders likely.
const macText = fc.oneof(
  fc.constantFrom(
    '00:16:3e:00:00:01',
    '00:16:3E:00:00:02',
    '01:16:3e:00:00:01',
    '00:16:3e:xx:xx:xx',
    '00:00:00:00:00:00',
  ),
  fc
    .tuple(...Array.from({ length: 6 }, () => fc.integer({ min: 0, max: 255 })))
    .map((octets) => octets.map((octet) => octet.toString(16).padStart(2, '0')).join(':')),
);
const vifSpec = fc
  .tuple(fc.option(macText), fc.constantFrom('', 'bridge=br0', 'ip=10.0.0.3, bridge=eth0', 'type=ioemu'), fc.boolean())
  .map(([mac, rest, isFirst]) => {
    const parts = [mac === null ? '' : `mac=${mac}`, rest].filter((part) => part !== '');
    return (isFirst ? parts : parts.toReversed()).join(',');
  });
const cfgText = fc
  .tuple(fc.array(vifSpec, { maxLength: 4 }), fc.array(vifSpec, { maxLength: 2 }), fc.constantFrom("'", '"'))
  .map(([first, more, quote]) => {
    const list = (specs: readonly string[]): string => specs.map((spec) => quote + spec + quote).join(', ');
    return `# \xe9 mac=00:16:3e:00:00:01\nvif = [ ${list(first)} ] # vif\nextra = 'mac=00:16:3e:99:99:99'\nvif += [${list(more)}]\n`;
  });
const cfgFiles = fc.array(cfgText, { maxLength: 6 }).map((texts) => new Map(texts.map((text, n) => [`f${n}`, text])));
interface Chosen {
  readonly isNewDeployment: boolean;
  readonly policy: BootFacts['policy'];
  readonly leases: readonly { n: number; vifIndex: number; bits: number; endsAtMs: number | undefined }[];
}

const settings: fc.Arbitrary<Chosen> = fc.record({
  isNewDeployment: fc.boolean(),
  policy: fc.constantFrom('deployment' as const, 'every-boot' as const),
  leases: fc.array(
    fc.record({
      n: fc.nat(5),
      vifIndex: fc.nat(3),
      bits: fc.integer({ min: 1, max: 4 }),
      endsAtMs: fc.constantFrom(undefined, NOW_MS, NOW_MS + 1),
    }),
    { maxLength: 3 },
  ),
});

function factsOf(files: ReadonlyMap<string, string>, chosen: Chosen): BootFacts {
  const leases = chosen.leases.map(({ n, vifIndex, bits, endsAtMs }) =>
    lease(`f${n}`, { vifIndex, endsAtMs, mac: parseMac(`00:16:3e:00:00:0${bits}`) }),
  );
  return facts(Object.fromEntries(files), { ...chosen, leases });
}

function applied(files: ReadonlyMap<string, string>, made: BootPlan): ReadonlyMap<string, string> {
  return new Map([...files, ...made.rewrites.map(({ path, after }) => [path, after] as const)]);
}

t.test('whatever the files are', (t) => {
  t.test('every vif has a MAC of its own, fit for a NIC', (t) => {
    fc.assert(
      fc.property(cfgFiles, settings, fc.infiniteStream(fc.nat(40)), (files, chosen, draws) => {
        const made = planBoot(factsOf(files, chosen), () => draws.next().value as number);
        // Few bits make clashes likely; a file for which none is free is refused as a whole.
        const refused = new Set(made.refusals.map(({ file }) => file));
        const after = [...applied(files, made)].filter(([path]) => !refused.has(path));
        const macs = after.flatMap(([, text]) => listVifs(parseXlCfg(text)).map((vif) => vif.macAsXlReads ?? 'none'));
        return (
          new Set(macs).size === macs.length && macs.every((mac) => mac !== 'none' && !isMulticastMac(parseMac(mac)))
        );
      }),
    );
    t.end();
  });

  t.test('every other byte stays', (t) => {
    const withoutMacs = (text: string): string =>
      // The values of the vifs' mac parameters, and a parameter that was added.
      text.replaceAll(/(['"])(?:[^'"\n]*)\1/g, (literal) =>
        literal.startsWith(`'mac=00:16:3e:99:99:99'`)
          ? literal
          : literal.replace(/,? ?mac=[^,'"]*/, '').replace(/^(['"]),/, '$1'),
      );
    fc.assert(
      fc.property(cfgFiles, settings, (files, chosen) => {
        const made = planBoot(factsOf(files, chosen), counter());
        return made.rewrites.every(({ before, after }) => withoutMacs(before) === withoutMacs(after));
      }),
    );
    t.end();
  });

  t.test('a second run in the same deployment changes nothing', (t) => {
    fc.assert(
      fc.property(cfgFiles, settings, (files, chosen) => {
        const first = planBoot(factsOf(files, chosen), counter());
        // What was recorded of leases means nothing in a new deployment.
        const leases = chosen.isNewDeployment ? [] : chosen.leases;
        const again = { ...chosen, leases, isNewDeployment: false, policy: 'deployment' as const };
        const second = planBoot(factsOf(applied(files, first), again), counter());
        return second.rewrites.length === 0;
      }),
    );
    t.end();
  });
  t.end();
});

t.test('what the boot step says', (t) => {
  const made = plan(
    { '/x/a.cfg': `vif = ['', 'mac=00:16:3e:00:00:01']\n`, '/x/py.cfg': `import os\n` },
    { isNewDeployment: true, autostart: [{ path: '/x/auto/a', file: '/x/a.cfg' }] },
  );
  const holds = made.holds.map((hold) => ({ ...hold, heldAt: '/held/1/0-a' }));
  const report = { ...made, holds, isDryRun: false, isNewDeployment: true, warnings: [] };
  const records = JSON.parse(formatBootJson(report)) as unknown[];
  t.match(records, [
    { kind: 'vif', file: '/x/a.cfg', vif: 0, old: null, new: '00:16:3e:d0:00:01', reason: 'no mac' },
    {
      kind: 'vif',
      file: '/x/a.cfg',
      vif: 1,
      old: '00:16:3e:00:00:01',
      new: '00:16:3e:d0:00:02',
      reason: 'new deployment',
    },
    { kind: 'refused', file: '/x/py.cfg', reason: /line 1/ },
    { kind: 'held', file: '/x/auto/a', what: 'autostart', heldAt: '/held/1/0-a', reason: /deployment before/ },
  ]);
  t.equal(records.length, 4);
  t.equal(formatBootJson({ ...report, vifs: [], refusals: [], holds: [] }), '[]\n');
  const text = formatBootText(report);
  t.match(text, /^\/x\/a\.cfg vif 0: none -> 00:16:3e:d0:00:01 \(no mac\)$/m);
  t.match(text, /^2 vifs: 2 new MACs, 0 kept; 1 file refused, 1 held back$/m);
  t.match(text, /domherd-agent release/);
  t.match(formatBootText({ ...report, isDryRun: true }), /nothing was written/);

  const events = bootEvents(report, [{ path: '/x/auto/a', file: '/x/a.cfg' }]);
  t.strictSame(
    events.map(({ kind, vmKey }) => [kind, vmKey]),
    [
      ['host.deployed', undefined],
      ['vm.mac-changed', '/x/a.cfg'],
      ['vm.mac-changed', '/x/a.cfg'],
      ['vm.held', '/x/a.cfg'],
    ],
  );
  const kept = plan({ a: `vif = ['mac=00:16:3e:00:00:01']\n` });
  t.strictSame(bootEvents({ ...kept, holds: [], isDryRun: false, isNewDeployment: false, warnings: [] }, []), []);
  t.end();
});

t.test('whether it is a new deployment', (t) => {
  const of = (id: string, change: Partial<DeploymentFacts> = {}): Parameters<typeof isNewDeployment>[1] => ({
    id,
    facts: { rootFs: 'ext:u:1', machine: 'm', macs: ['a', 'b'], ...change },
  });
  const cases: [string, ReturnType<typeof of> | undefined, boolean][] = [
    ['no record', undefined, true],
    ['the same', of('1'), false],
    ['another file system', of('0', { rootFs: 'ext:u:2' }), true],
    ['another machine', of('0', { machine: 'n' }), true],
    ['a NIC that was late', of('0', { macs: ['a'] }), false],
    ['a NIC that is gone', of('0', { macs: ['a', 'b', 'c'] }), false],
    ['no NIC yet', of('0', { macs: [] }), false],
    ['other NICs', of('0', { macs: ['a', 'c'] }), true],
    ['file systems that are not known', of('0', { rootFs: undefined }), true],
  ];
  for (const [name, before, isNew] of cases) t.equal(isNewDeployment(before, of('1')), isNew, name);
  const unknown = of('1', { rootFs: undefined });
  t.equal(isNewDeployment({ ...unknown, id: '0' }, unknown), true);
  t.equal(isNewDeployment(unknown, unknown), false);
  t.end();
});

t.test('what xendomains is told', (t) => {
  const cases: [string, { autoDir: string; saveDir: string | undefined }][] = [
    ['', { autoDir: '/etc/xen/auto', saveDir: '/var/lib/xen/save' }],
    ['XENDOMAINS_SAVE=/srv/save\n', { autoDir: '/etc/xen/auto', saveDir: '/srv/save' }],
    [
      `XENDOMAINS_AUTO="/srv/my auto" # ours\n  export XENDOMAINS_SAVE='/s'`,
      { autoDir: '/srv/my auto', saveDir: '/s' },
    ],
    ['XENDOMAINS_SAVE=/a\n#XENDOMAINS_SAVE=/b\nXENDOMAINS_SAVE=""\n', { autoDir: '/etc/xen/auto', saveDir: undefined }],
    ['XENDOMAINS_SAVE=\nXENDOMAINS_AUTO=', { autoDir: '/etc/xen/auto', saveDir: undefined }],
    ['XENDOMAINS_SAVE=$HOME/save\nXENDOMAINS_AUTO=auto', { autoDir: '/etc/xen/auto', saveDir: '/var/lib/xen/save' }],
  ];
  for (const [text, want] of cases) t.strictSame(parseXendomains(text), want, JSON.stringify(text));
  t.end();
});

t.test('records of leases replace those of the same vif', (t) => {
  const [a, b] = [lease('a'), lease('a', { vifIndex: 1 })];
  const newer = lease('a', { endsAtMs: undefined });
  t.strictSame(withRecords([a, b], [newer]), [b, newer]);
  t.end();
});
