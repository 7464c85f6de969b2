import fc from 'fast-check';
import t from 'tap';
import { isReadableMac, isTemplateMac, macAsXlReads } from '../../../../../agent/domain/xl-cfg/vif-mac.js';
import { formatVifSpec, parseVifSpec } from '../../../../../agent/domain/xl-cfg/vif-spec.js';
import { addVif, listVifs, removeVifParameter, setVifParameter } from '../../../../../agent/domain/xl-cfg/vif.js';
import { formatXlCfg, parseXlCfg } from '../../../../../agent/domain/xl-cfg/xl-cfg.js';
import { arbitraryCfg, TUTORIAL, XEN_TOOLS } from './sample.js';
import { refusal, where } from './refusal.js';

const MAC = '00:16:3e:84:08:01';

void t.test('a vif spec is read as xl reads it', (t) => {
  const cases = [
    { spec: '', want: [] },
    { spec: ' , ,', want: [] },
    { spec: 'mac=00:16:3E:11:22:33', want: ['mac=00:16:3E:11:22:33'] },
    { spec: 'mac=00:16:3E:11:22:33, bridge=eth0', want: ['mac=00:16:3E:11:22:33', 'bridge=eth0'] },
    {
      spec: 'ip=10.0.0.3,mac=00:16:3E:5F:C3:25,vifname=v,bridge=br0',
      want: ['ip=10.0.0.3', 'mac=00:16:3E:5F:C3:25', 'vifname=v', 'bridge=br0'],
    },
    { spec: 'bridge=br0', want: ['bridge=br0'] },
    { spec: 'mac=00:16:3E:11:22:33, type=ioemu', want: ['mac=00:16:3E:11:22:33', 'type=ioemu'] },
    { spec: 'model=e1000,script=vif-route,backend=dom1', want: ['model=e1000', 'script=vif-route', 'backend=dom1'] },
    { spec: 'rate=10Mb/s@50ms,devid=3,mtu=9000', want: ['rate=10Mb/s@50ms', 'devid=3', 'mtu=9000'] },
    { spec: 'vlan=10p/20,gatewaydev=eth0,netdev=eth1', want: ['vlan=10p/20', 'gatewaydev=eth0', 'netdev=eth1'] },
    {
      spec: 'trusted,untrusted,forwarddev=eth9,colo_compare_out=x',
      want: ['trusted', 'untrusted', 'forwarddev=eth9', 'colo_compare_out=x'],
    },
    { spec: 'mac=00:16:3E:11:22:33 , bridge=br0 ,ip=1', want: ['mac=00:16:3E:11:22:33', 'bridge=br0 ', 'ip=1'] },
    { spec: ' type=foo', want: ['type=foo'] },
    { spec: 'script=a=b', want: ['script=a=b'] },
    { spec: 'mac = 00:16:3e:11:22:33', want: ['?mac = 00:16:3e:11:22:33'] },
    {
      spec: '\tbridge=br0,trusted ,foo,bar=1,Bridge=x',
      want: ['?\tbridge=br0', '?trusted ', '?foo', '?bar=1', '?Bridge=x'],
    },
  ];
  for (const { spec, want } of cases) {
    const { parameters } = parseVifSpec(spec);
    const shown = parameters.map(
      ({ name, value, isKnown }) => `${isKnown ? '' : '?'}${name}${value === undefined ? '' : `=${value}`}`,
    );
    t.strictSame(shown, want, JSON.stringify(spec));
    t.equal(formatVifSpec(parseVifSpec(spec)), spec);
    for (const { name, start } of parameters) t.ok(spec.startsWith(name, start), 'spans point at the names');
  }
  t.end();
});

void t.test('a vif spec is refused for what makes xl exit, and for a MAC that it misreads', (t) => {
  const accepted = [
    'devid=0',
    'devid= +7x',
    'mtu=1500',
    'rate=1B/s',
    'rate=16000000b/s',
    'rate=2KB/s@1s',
    'rate=8Gb/s@5u',
    'rate=1B/s@1',
  ];
  for (const spec of accepted) t.equal(where(refusal(() => parseVifSpec(spec))), 'accepted', spec);
  const cases = [
    { spec: 'mac=', want: 'invalid 1:5' },
    { spec: 'bridge=br0, mac=garbage', want: 'invalid 1:17' },
    { spec: 'mac=00:16:3e:11:22', want: 'invalid 1:5' },
    { spec: 'mac=00:16:3e:11:22:333', want: 'invalid 1:5' },
    { spec: 'mac=00163e112233', want: 'invalid 1:5' },
    { spec: 'mac=zz,mac=00:16:3e:11:22:33', want: 'invalid 1:5' },
    { spec: 'devid=x', want: 'invalid 1:7' },
    { spec: 'devid=-1', want: 'invalid 1:7' },
    { spec: 'devid=99999999999999999999', want: 'invalid 1:7' },
    { spec: 'mtu=', want: 'invalid 1:5' },
    ...['foo', '10MB', '10MB/m', '10ZB/s', '4294967296b/s', '4294967296Gb/s', '0B/s', '08B/s', ''].map(badRate),
    ...['10Mb/s@foo', '10Mb/s@10h', '10Mb/s@', '1B/s@4294967296us', '1B/s@4294968ms', '1B/s@4295s', '1B/s@0us'].map(
      badRate,
    ),
    ...['4294967295GB/s@5us', '4296MB/s@4294967296s', '@'].map(badRate),
  ];
  for (const { spec, want } of cases) t.equal(where(refusal(() => parseVifSpec(spec))), want, spec);

  function badRate(rate: string): { readonly spec: string; readonly want: string } {
    return { spec: `rate=${rate}`, want: 'invalid 1:6' };
  }
  t.end();
});

void t.test('a mac means what xl makes of it', (t) => {
  const cases = [
    { text: '00:16:3E:11:22:33', readable: true, template: false, read: '00:16:3e:11:22:33' },
    { text: '0:16:3e:1:2:3', readable: true, template: false, read: '00:16:3e:01:02:03' },
    { text: '00-16-3e-11-22-33', readable: true, template: false, read: '00:16:3e:11:22:33' },
    { text: '0x00:0x16:0x3e:11:22:33 junk', readable: true, template: false, read: '00:16:3e:11:22:33' },
    { text: '00:00:00:00:00:00', readable: true, template: false, read: undefined },
    { text: '00:16:3E:xx:xx:xx', readable: false, template: true, read: '00:16:3e:00:00:00' },
    { text: '00:16:3E:11:22:X3', readable: false, template: true, read: '00:16:3e:11:22:00' },
    { text: '??:??:??:??:??:??', readable: false, template: true, read: undefined },
    { text: '00:16:3E', readable: false, template: false, read: '00:16:3e:00:00:00' },
    { text: '100:16:3e:11:22:33', readable: false, template: false, read: undefined },
    { text: '', readable: false, template: false, read: undefined },
  ];
  for (const { text, readable, template, read } of cases) {
    t.strictSame([isReadableMac(text), isTemplateMac(text), macAsXlReads(text)], [readable, template, read], text);
  }
  t.end();
});

void t.test('listVifs', (t) => {
  const list = (text: string) =>
    listVifs(parseXlCfg(text)).map((vif) => [
      vif.index,
      `${vif.line}:${vif.column}`,
      vif.mac,
      vif.bridge,
      vif.ip,
      vif.isTemplateMac,
    ]);
  const cases = [
    { name: 'no vif key', text: "name = 'x'\n", want: [] },
    { name: 'a commented vif', text: "#vif = [ 'mac=00:16:3e:11:22:33' ]\n", want: [] },
    { name: 'a string is no list, to xl too', text: `vif = 'mac=${MAC}'\n`, want: [] },
    { name: 'the tutorial', text: TUTORIAL, want: [[0, '10:9', '00:16:3E:11:22:33', 'xenbr0', undefined, false]] },
    { name: 'xen-tools', text: XEN_TOOLS, want: [[0, '32:17', '00:16:3E:5F:C3:25', 'br0', '10.0.0.3 ', false]] },
    {
      name: 'the line of the tutorial’s page',
      text: "vif = [ 'mac=00:16:3E:xx:xx:xx, bridge=eth0' ]",
      want: [[0, '1:9', '00:16:3E:xx:xx:xx', 'eth0', undefined, true]],
    },
    {
      name: 'over = and +=, in file order',
      text: "vif = ['bridge=lost']\nvif = [ '',\n  \"bridge=b\" ]\nvif += ['ip=1']",
      want: [
        [0, '2:9', undefined, undefined, undefined, false],
        [1, '3:3', undefined, 'b', undefined, false],
        [2, '4:9', undefined, undefined, '1', false],
      ],
    },
    {
      name: 'a list in the list ends it',
      text: "vif = ['ip=1', ['ip=2'], 'ip=3']",
      want: [[0, '1:8', undefined, undefined, '1', false]],
    },
    {
      name: 'of two the later counts',
      text: "vif = ['bridge=a,bridge=b']",
      want: [[0, '1:8', undefined, 'b', undefined, false]],
    },
  ];
  for (const { name, text, want } of cases) t.strictSame(list(text), want, name);
  t.equal(listVifs(parseXlCfg("vif=['mac=00:16:3E:xx:xx:xx']"))[0]?.macAsXlReads, '00:16:3e:00:00:00');
  t.equal(where(refusal(() => listVifs(parseXlCfg("a=1\nvif = [ '',\n 'ip=\\\\,mac=bad' ]")))), 'invalid 3:13');
  t.end();
});

void t.test('setVifParameter', (t) => {
  const cases = [
    { name: 'an empty spec', text: "vif = [ '' ]", vif: 0, set: ['mac', MAC], want: `vif = [ 'mac=${MAC}' ]` },
    { name: 'a blank spec', text: 'vif=["  "]', vif: 0, set: ['mac', MAC], want: `vif=["  mac=${MAC}"]` },
    {
      name: 'beside one',
      text: "vif=['bridge=br0']",
      vif: 0,
      set: ['mac', MAC],
      want: `vif=['bridge=br0,mac=${MAC}']`,
    },
    {
      name: 'in the spacing of two',
      text: "vif=['ip=1,  bridge=b']",
      vif: 0,
      set: ['mac', MAC],
      want: `vif=['ip=1,  bridge=b,  mac=${MAC}']`,
    },
    { name: 'behind a comma', text: "vif=['ip=1,']", vif: 0, set: ['bridge', 'b'], want: "vif=['ip=1,bridge=b']" },
    {
      name: 'behind a comma and spacing',
      text: "vif=['ip=1, ']",
      vif: 0,
      set: ['bridge', 'b'],
      want: "vif=['ip=1, bridge=b']",
    },
    {
      name: 'behind a comma, spacing taken over',
      text: "vif=['ip=1, mtu=9,']",
      vif: 0,
      set: ['bridge', 'b'],
      want: "vif=['ip=1, mtu=9, bridge=b']",
    },
    {
      name: 'a template',
      text: "vif=['mac=00:16:3E:xx:xx:xx, bridge=b']",
      vif: 0,
      set: ['mac', MAC],
      want: `vif=['mac=${MAC}, bridge=b']`,
    },
    {
      name: 'blanks behind a mac stay',
      text: "vif=['mac=00:16:3E:11:22:33 , ip=1']",
      vif: 0,
      set: ['mac', MAC],
      want: `vif=['mac=${MAC} , ip=1']`,
    },
    {
      name: 'blanks behind a bridge were part of it',
      text: "vif=['bridge=a ,ip=1']",
      vif: 0,
      set: ['bridge', 'b'],
      want: "vif=['bridge=b,ip=1']",
    },
    { name: 'of two the later', text: "vif=['ip=1,ip=2']", vif: 0, set: ['ip', '3'], want: "vif=['ip=1,ip=3']" },
    {
      name: 'no unknown lookalike',
      text: "vif=['mac = x,xmac=y']",
      vif: 0,
      set: ['mac', MAC],
      want: `vif=['mac = x,xmac=y,mac=${MAC}']`,
    },
    {
      name: 'the second of a list',
      text: "vif=['ip=1','ip=1']",
      vif: 1,
      set: ['ip', '2'],
      want: "vif=['ip=1','ip=2']",
    },
    {
      name: 'one that was added',
      text: "vif=['ip=1']\nvif+=['ip=1']",
      vif: 1,
      set: ['ip', '2'],
      want: "vif=['ip=1']\nvif+=['ip=2']",
    },
    {
      name: 'not one that was lost',
      text: "vif=['ip=1']\nvif=['ip=1']",
      vif: 0,
      set: ['ip', '2'],
      want: "vif=['ip=1']\nvif=['ip=2']",
    },
    {
      name: 'escapes before, in and behind the value',
      text: `vif=["script=\\"a\\\\,ip=\\'9\\',vifname=\\"v"]`,
      vif: 0,
      set: ['ip', `'2"`],
      want: `vif=["script=\\"a\\\\,ip='2\\",vifname=\\"v"]`,
    },
    {
      name: 'an escape that xl drops',
      text: "vif=['ip=1\\012,mtu=9']",
      vif: 0,
      set: ['mtu', '8'],
      want: "vif=['ip=1\\012,mtu=8']",
    },
    {
      name: 'text like a MAC elsewhere',
      text: "# mac=00:16:3E:11:22:33\nextra='mac=00:16:3E:11:22:33'\nvif=['mac=00:16:3E:11:22:33'] # mac=00:16:3E:11:22:33\n",
      vif: 0,
      set: ['mac', MAC],
      want: `# mac=00:16:3E:11:22:33\nextra='mac=00:16:3E:11:22:33'\nvif=['mac=${MAC}'] # mac=00:16:3E:11:22:33\n`,
    },
    { name: 'the same value', text: "vif=['ip=\\'1']", vif: 0, set: ['ip', "'1"], want: "vif=['ip=\\'1']" },
  ] as const;
  for (const { name, text, vif, set, want } of cases) {
    t.equal(formatXlCfg(setVifParameter(parseXlCfg(text), vif, set[0], set[1])), want, name);
  }
  t.end();
});

void t.test('setVifParameter refuses what xl would not take as it stands', (t) => {
  const cfg = parseXlCfg("vif = ['ip=1', 7]");
  const cases = [
    { vif: 2, set: ['ip', '2'], want: 'not_found' },
    { vif: -1, set: ['ip', '2'], want: 'not_found' },
    { vif: 0, set: ['mac', '00:16:3E:xx:xx:xx'], want: 'invalid' },
    { vif: 0, set: ['mac', '0:16:3e:1:2:3'], want: 'invalid' },
    { vif: 0, set: ['bridge', ''], want: 'invalid' },
    { vif: 0, set: ['bridge', 'a,mac=b'], want: 'invalid' },
    { vif: 0, set: ['bridge', ' a'], want: 'invalid' },
    { vif: 0, set: ['bridge', 'a '], want: 'invalid' },
    { vif: 0, set: ['bridge', 'a\nb'], want: 'invalid' },
    { vif: 0, set: ['bridge', '\u0119'], want: 'invalid' },
    { vif: 0, set: ['type', 'e1000'], want: 'invalid' },
    { vif: 0, set: ['rate', 'fast'], want: 'invalid' },
    { vif: 0, set: ['mtu', 'big'], want: 'invalid' },
    { vif: 0, set: ['trusted', '1'], want: 'invalid' },
    { vif: 0, set: ['brige', 'a'], want: 'invalid' },
    { vif: 1, set: ['ip', '2'], want: 'invalid' },
  ] as const;
  for (const { vif, set, want } of cases) {
    const error = refusal(() => setVifParameter(cfg, vif, set[0], set[1]));
    t.equal(error?.code, want, `vif ${vif}: ${set.join('=')}`);
    t.ok(error?.details['hint'], 'and tells what to do');
  }
  t.equal(refusal(() => removeVifParameter(cfg, 5, 'ip'))?.code, 'not_found');
  t.equal(formatXlCfg(setVifParameter(cfg, 0, 'type', 'ioemu')), "vif = ['ip=1,type=ioemu', 7]");
  t.end();
});

void t.test('removeVifParameter', (t) => {
  const cases = [
    { name: 'the only one', spec: 'ip=1', want: '' },
    { name: 'the only one, with blanks', spec: '  ip=1', want: '' },
    { name: 'the only one, with a comma', spec: 'ip=1, ', want: '' },
    { name: 'the first', spec: 'ip=1,mac=00:16:3e:11:22:33', want: 'mac=00:16:3e:11:22:33' },
    { name: 'the first, with spacing', spec: ' ip=1,  bridge=b', want: ' bridge=b' },
    { name: 'the middle', spec: 'bridge=b, ip=1, mtu=9', want: 'bridge=b, mtu=9' },
    { name: 'the last', spec: 'bridge=b, ip=1', want: 'bridge=b' },
    { name: 'the last, with blanks behind', spec: 'bridge=b, ip=1 ', want: 'bridge=b' },
    { name: 'every one', spec: 'ip=1,bridge=b,ip=2', want: 'bridge=b' },
    { name: 'none', spec: 'bridge=b,xip=1,ip =2', want: 'bridge=b,xip=1,ip =2' },
    { name: 'beside escapes', spec: "script=\\'s,ip=\\'1,vifname=\\'v", want: "script=\\'s,vifname=\\'v" },
  ];
  for (const { name, spec, want } of cases) {
    const cfg = parseXlCfg(`vif = [ 'ip=0', '${spec}', ] # ip=1\n`);
    t.equal(formatXlCfg(removeVifParameter(cfg, 1, 'ip')), `vif = [ 'ip=0', '${want}', ] # ip=1\n`, name);
  }
  t.equal(formatXlCfg(removeVifParameter(parseXlCfg("vif=['trusted,ip=1']"), 0, 'trusted')), "vif=['ip=1']", 'a flag');
  t.end();
});

void t.test('properties', (t) => {
  const value = fc.string({
    unit: fc.constantFrom('a', '0', '.', ':', '=', "'", '"', '\\', '#', '[', '\xe9', 'x y'),
    minLength: 1,
  });
  const name = fc.constantFrom('ip', 'bridge', 'vifname', 'script', 'model', 'vlan', 'x_unknown', 'mac ');
  const spacing = fc.constantFrom('', '', ' ', '  ');
  const quote = fc.constantFrom("'", '"');
  const part = fc.oneof(
    fc.tuple(name, value).map(([n, v]) => `${n}=${v}`),
    fc.constantFrom(`mac=${MAC}`, 'trusted', 'mtu=9', ''),
  );
  const spec = fc
    .array(
      fc.tuple(spacing, part).map((parts) => parts.join('')),
      { maxLength: 5 },
    )
    .map((parts) => parts.join(','));
  const written = (text: string, mark: string) => mark + text.replaceAll(/[\\'"]/g, '\\$&') + mark;
  const setting = fc.oneof(
    fc.tuple(fc.constantFrom('ip', 'bridge', 'vifname'), value),
    fc.tuple(fc.constant('mac'), fc.constantFrom('00:16:3e:00:00:01', '00:16:3E:AB:CD:EF')),
  );
  const file = fc.tuple(arbitraryCfg(), fc.array(spec, { minLength: 1, maxLength: 4 }), quote, arbitraryCfg());

  void t.test('setVifParameter reads back and leaves every other byte, vif and parameter', (t) => {
    fc.assert(
      fc.property(file, fc.nat(), setting, ([before, specs, mark, after], pick, [name, value]) => {
        const at = pick % specs.length;
        const literals = specs.map((text) => written(text, mark));
        const head = `${before}\nvif = [ ${literals
          .slice(0, at)
          .map((literal) => `${literal}, # mac=${MAC}\n`)
          .join('')}${mark}`;
        const tail = `${mark}${literals
          .slice(at + 1)
          .map((literal) => `, ${literal}`)
          .join('')} ] # ip=1\n${after}`;
        const cfg = parseXlCfg(head + (literals[at] ?? '').slice(1, -1) + tail);
        const edited = setVifParameter(cfg, at, name, value);
        const text = formatXlCfg(edited);
        t.ok(text.startsWith(head) && text.endsWith(tail), 'only the bytes of one spec changed');

        const parameters = (index: number, source: typeof cfg) =>
          (listVifs(source)[index]?.spec.parameters ?? []).map((parameter) => `${parameter.name}=${parameter.value}`);
        const old = parameters(at, cfg);
        const place = listVifs(cfg)[at]?.spec.parameters.findLastIndex((parameter) => parameter.name === name) ?? -1;
        const want = place < 0 ? [...old, `${name}=${value}`] : old.with(place, `${name}=${value}`);
        t.strictSame(parameters(at, edited), want, 'only one parameter changed');
        t.equal(setVifParameter(edited, at, name, value), edited, 'a second time changes nothing');
      }),
      { numRuns: 300 },
    );
    t.end();
  });

  void t.test('removeVifParameter takes out one name and leaves the order of the others', (t) => {
    fc.assert(
      fc.property(
        file,
        fc.nat(),
        fc.constantFrom('ip', 'mac', 'trusted'),
        ([before, specs, mark, after], pick, name) => {
          const head = `${before}\nvif = [`;
          const tail = `]\n${after}`;
          const cfg = parseXlCfg(head + specs.map((text) => written(text, mark)).join(',') + tail);
          const edited = removeVifParameter(cfg, pick % specs.length, name);
          const text = formatXlCfg(edited);
          t.ok(text.startsWith(head) && text.endsWith(tail));
          const shown = (source: typeof cfg) =>
            listVifs(source).map((vif) =>
              vif.spec.parameters.map((parameter) => `${parameter.name}=${parameter.value}`),
            );
          const isOther = (parameter: string) => !parameter.startsWith(`${name}=`);
          const want = shown(cfg).map((list, index) => (index === pick % specs.length ? list.filter(isOther) : list));
          t.strictSame(shown(edited), want);
        },
      ),
      { numRuns: 300 },
    );
    t.end();
  });

  void t.test('addVif puts one behind the others and leaves every byte', (t) => {
    fc.assert(
      fc.property(file, ([before, specs, mark, after]) => {
        const head = `${before}\nvif = [${specs.map((text) => written(text, mark)).join(', ')}`;
        const cfg = parseXlCfg(`${head} ] # nics\n${after}`);
        const edited = addVif(cfg, 'br1');
        t.equal(formatXlCfg(edited), `${head}, ${mark}bridge=br1${mark} ] # nics\n${after}`);
        t.match(listVifs(edited).at(-1), { index: specs.length, bridge: 'br1', mac: undefined });
      }),
      { numRuns: 200 },
    );
    for (const [text, bridge] of [
      ["name = 'x'\n", 'br1'],
      ["vif = 'bridge=br0'\n", 'br1'],
      [TUTORIAL, 'br1,mac=00:16:3e:00:00:01'],
      [TUTORIAL, ''],
    ] as const) {
      t.match(where(refusal(() => addVif(parseXlCfg(text), bridge))), /^invalid/, `${bridge} to ${text}`);
    }
    t.end();
  });
  t.end();
});
