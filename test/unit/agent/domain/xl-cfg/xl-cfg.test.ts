import fc from 'fast-check';
import t from 'tap';
import { listDisks } from '../../../../../agent/domain/xl-cfg/disk.js';
import { parseDiskSpec } from '../../../../../agent/domain/xl-cfg/disk-spec.js';
import { removeKey, setNumber, setString } from '../../../../../agent/domain/xl-cfg/edit.js';
import {
  cfgName,
  formatXlCfg,
  getList,
  getNumber,
  getString,
  parseXlCfg,
} from '../../../../../agent/domain/xl-cfg/xl-cfg.js';
import { refusal, where } from './refusal.js';
import { arbitraryCfg, TUTORIAL, XEN_TOOLS } from './sample.js';

void t.test('parseXlCfg accepts what xl accepts, and keeps every byte', (t) => {
  const cases = [
    { name: 'nothing', text: '' },
    { name: 'the tutorial’s domU', text: TUTORIAL },
    { name: 'the file that xen-tools writes', text: XEN_TOOLS },
    { name: 'a last line without a newline', text: "name = 'a'" },
    { name: 'statements on one line', text: "a=1;b=2;;c='x';" },
    {
      name: 'a list over lines, with comments and a comma at the end',
      text: "disk = [ # two\n\n'x' # c\n,\n'y',\n]\n",
    },
    { name: 'nested lists', text: 'a = [[1, [2,\n3]], []]\n' },
    {
      name: 'UTF-8 and latin1 bytes in strings and comments',
      text: "# \xc3\xa9t\xe9 \xff\0\nname = '\xc3\xa9 \x80'\n",
    },
    { name: 'carriage returns in comments and strings', text: "# dos\r\na = 'x\ry'\n" },
    { name: 'Python in comments', text: '# import os; print (x)\na=1\n' },
    { name: 'a bare # as the very last byte', text: 'a=1\n#' },
    { name: 'words next to strings', text: "a='x'# c\nb.c_9=0xff" },
  ];
  for (const c of cases) t.equal(formatXlCfg(parseXlCfg(c.text)), c.text, c.name);
  t.end();
});

void t.test('parseXlCfg refuses what xl refuses, and says where', (t) => {
  const cases = [
    { name: 'Python: import', text: "import os\nname = 'x'\n", want: 'invalid 1:8' },
    { name: 'Python: arithmetic', text: "name = 'x'\nmemory = 128\nvcpus = 1*2\n", want: 'invalid 3:10' },
    { name: 'Python: a function', text: "a = 1\ndef vif(n):\n  return 'x'\n", want: 'invalid 2:5' },
    { name: 'a capital', text: 'Memory = 1\n', want: 'invalid 1:1' },
    { name: 'Windows line ends', text: "name = 'a'\r\nmemory = 1\r\n", want: 'invalid 1:11' },
    { name: 'a carriage return as the last byte', text: "name = 'a'\r", want: 'invalid 1:11' },
    { name: 'a byte order mark', text: '\xef\xbb\xbfname = "a"\n', want: 'invalid 1:1' },
    { name: 'a comment at the end without newline', text: 'a=1\n# end', want: 'invalid 2:1' },
    { name: 'an open string', text: "a = 'x\nb = 'y'\n", want: 'invalid 1:5' },
    { name: 'a string over two lines', text: "a = 'x\\\ny'\n", want: 'invalid 1:5' },
    { name: 'an open list', text: "a = [ 'x',\n", want: 'invalid 2:1' },
    { name: 'a list without comma', text: "a = [ 'x' 'y' ]\n", want: 'invalid 1:11' },
    { name: 'two commas', text: "a = [ 'x',, ]\n", want: 'invalid 1:11' },
    { name: 'a comma alone', text: 'a = [,]\n', want: 'invalid 1:6' },
    { name: 'a semicolon in a list', text: 'a = [1;2]\n', want: 'invalid 1:7' },
    { name: 'a bare word', text: 'a = b\n', want: 'invalid 1:5' },
    { name: 'a value on the next line', text: 'a =\n1\n', want: 'invalid 1:4' },
    { name: 'two statements without separator', text: 'a=1 b=2\n', want: 'invalid 1:5' },
    { name: 'a bare minus', text: 'a = -1\n', want: 'invalid 1:5' },
    { name: 'a hexadecimal escape', text: "a = 'x\\x41'\n", want: 'invalid 1:7' },
    { name: 'an unknown escape', text: "a = 'C:\\path'\n", want: 'invalid 1:8' },
    { name: 'an octal escape of two digits', text: "a = '\\01'\n", want: 'invalid 1:6' },
    { name: 'a NUL byte in a string', text: "a = 'x\0y'\n", want: 'invalid 1:7' },
    { name: 'a string added to a list', text: "a = ['x']\na += 'y'\n", want: 'invalid 2:1' },
    { name: 'a list added to a string', text: "a = 'x'\na += ['y']\n", want: 'invalid 2:1' },
    { name: 'lists without end', text: `a = ${'['.repeat(20_000)}`, want: 'invalid 1:69' },
  ];
  for (const c of cases) t.equal(where(refusal(() => parseXlCfg(c.text))), c.want, c.name);
  const python = refusal(() => parseXlCfg("import os\nx = foo('a')\n"));
  t.match(python?.details['hint'], /Python/, 'Python is called by its name');
  t.ok(python?.details['reason']);
  t.notMatch(refusal(() => parseXlCfg('a = b\n'))?.details['hint'], /Python/, 'what is no Python is not called so');
  t.end();
});

void t.test('values are those that xl sees', (t) => {
  const read = (text: string) => {
    const cfg = parseXlCfg(text);
    return [getString(cfg, 'a'), getNumber(cfg, 'a'), getList(cfg, 'a')];
  };
  const cases = [
    { name: 'missing', text: '', want: [undefined, undefined, undefined] },
    { name: 'a bare number', text: 'a=128', want: ['128', 128, undefined] },
    { name: 'a quoted number', text: "a = '128'", want: ['128', 128, undefined] },
    { name: 'hexadecimal', text: 'a=0x1f', want: ['0x1f', 31, undefined] },
    { name: 'octal', text: 'a=010', want: ['010', 8, undefined] },
    { name: 'zero', text: 'a=0', want: ['0', 0, undefined] },
    { name: 'no octal digit', text: 'a=08', want: ['08', undefined, undefined] },
    { name: 'a number with a tail', text: 'a=12fx', want: ['12fx', undefined, undefined] },
    { name: 'negative, with a blank', text: 'a=" -5"', want: [' -5', -5, undefined] },
    { name: 'a number with a blank behind', text: 'a="5 "', want: ['5 ', undefined, undefined] },
    {
      name: 'beyond what a double holds',
      text: 'a=9007199254740993',
      want: ['9007199254740993', undefined, undefined],
    },
    { name: 'empty', text: 'a=""', want: ['', undefined, undefined] },
    { name: 'escapes', text: `a='\\'\\"\\\\\\n\\t'`, want: ['\'"\\\n\t', undefined, undefined] },
    { name: 'an octal escape, which xl drops', text: "a='x\\012y\\1+1z'", want: ['xyz', undefined, undefined] },
    { name: 'the later of two wins', text: 'a=1;a=2', want: ['2', 2, undefined] },
    { name: 'added strings; no number then', text: "a='1'\na += '2'", want: ['12', undefined, undefined] },
    { name: 'added to nothing', text: "a += '2'", want: ['2', undefined, undefined] },
    { name: 'a fresh start after an addition', text: "a='1';a+='2';a='3';a+='4'", want: ['34', undefined, undefined] },
    { name: 'a list', text: 'a=[\'x\', 1, "y",]', want: [undefined, undefined, ['x', '1', 'y']] },
    { name: 'an empty list', text: 'a=[]', want: [undefined, undefined, []] },
    { name: 'added lists', text: 'a=[1]\na+=[2]\na+=[3]', want: [undefined, undefined, ['1', '2', '3']] },
    { name: 'a list ends at a list', text: "a=['x',['y'],'z']\na+=['w']", want: [undefined, undefined, ['x']] },
    { name: 'a list of lists', text: "a=[['y']]", want: [undefined, undefined, []] },
    { name: 'a string that became a list', text: "a='x'\na=['y']", want: [undefined, undefined, ['y']] },
  ];
  for (const c of cases) t.strictSame(read(c.text), c.want, c.name);
  t.equal(cfgName(parseXlCfg(TUTORIAL)), 'domU');
  t.equal(cfgName(parseXlCfg('memory=1')), undefined);
  t.end();
});

void t.test('setString, setNumber and removeKey change what they must and nothing else', (t) => {
  const cases = [
    { name: 'keeps single quotes', text: "name = 'a' # c\n", edit: ['name', 'b'], want: "name = 'b' # c\n" },
    { name: 'keeps double quotes', text: 'name="a";b=1', edit: ['name', 'b'], want: 'name="b";b=1' },
    { name: 'escapes', text: "a='x'", edit: ['a', `'"\\`], want: `a='\\'"\\\\'` },
    { name: 'escapes for double quotes', text: 'a="x"', edit: ['a', `'"`], want: `a="'\\""` },
    { name: 'quotes a string where a number was', text: 'a=1', edit: ['a', 'x y'], want: "a='x y'" },
    {
      name: 'the same value, however written, is left alone',
      text: "a='x\\ty'",
      edit: ['a', 'x\ty'],
      want: "a='x\\ty'",
    },
    { name: 'bytes above 0x7f', text: "a=''", edit: ['a', '\xe9\xff'], want: "a='\xe9\xff'" },
    { name: 'of two the later', text: "a='1'\na='2'\n", edit: ['a', '3'], want: "a='1'\na='3'\n" },
    { name: 'a missing key goes to the end', text: 'b=1\n', edit: ['a', 'x'], want: "b=1\na = 'x'\n" },
    { name: 'on a line of its own', text: 'b=1 # c\nd=2', edit: ['a', 'x'], want: "b=1 # c\nd=2\na = 'x'\n" },
    { name: 'behind a bare #', text: 'b=1\n#', edit: ['a', 'x'], want: "b=1\n#\na = 'x'\n" },
    { name: 'into an empty file', text: '', edit: ['a', 'x'], want: "a = 'x'\n" },
    { name: 'over +=', text: "a='1'\na+='2'\n", edit: ['a', 'x'], want: "a='1'\na+='2'\na = 'x'\n" },
    { name: 'a bare number stays bare', text: 'memory=128;b=1', edit: ['memory', 512], want: 'memory=512;b=1' },
    { name: 'a quoted number stays quoted', text: "memory  = '128'", edit: ['memory', 512], want: "memory  = '512'" },
    { name: 'in double quotes too', text: 'memory="128"', edit: ['memory', 512], want: 'memory="512"' },
    { name: 'the same number in another base stays', text: 'memory=0x80', edit: ['memory', 128], want: 'memory=0x80' },
    { name: 'a negative number is quoted', text: 'a=1', edit: ['a', -1], want: "a='-1'" },
    { name: 'a missing number', text: 'b=1', edit: ['memory', 512], want: 'b=1\nmemory = 512\n' },
    { name: 'a number made with +=', text: "a='1'\na+='2'\n", edit: ['a', 12], want: "a='1'\na+='2'\na = 12\n" },
    { name: 'removes a line', text: 'b=1\n  a = 2 # c\nd=3\n', edit: ['a'], want: 'b=1\nd=3\n' },
    { name: 'removes the last line', text: 'b=1\na = [\n2 ]', edit: ['a'], want: 'b=1\n' },
    { name: 'removes the first of a line', text: 'a=1; b=2\n', edit: ['a'], want: 'b=2\n' },
    { name: 'removes the middle of a line', text: 'c=0; a=1; b=2\n', edit: ['a'], want: 'c=0; b=2\n' },
    { name: 'removes the end of a line', text: 'b=2; a=1 # c\n', edit: ['a'], want: 'b=2; # c\n' },
    { name: 'removes a line with a semicolon', text: 'a=1 ; # c\nb=2', edit: ['a'], want: 'b=2' },
    { name: 'removes behind a list', text: 'b=[\n1]; a=1\n', edit: ['a'], want: 'b=[\n1];\n' },
    { name: 'removes every one', text: "a=1; a=2\nb=1\na+='3'\n", edit: ['a'], want: 'b=1\n' },
    { name: 'removes nothing', text: 'b=1 # a=1\n', edit: ['a'], want: 'b=1 # a=1\n' },
  ] as const;
  for (const { name, text, edit, want } of cases) {
    const [key, value] = edit;
    const cfg = parseXlCfg(text);
    const edited =
      value === undefined
        ? removeKey(cfg, key)
        : typeof value === 'number'
          ? setNumber(cfg, key, value)
          : setString(cfg, key, value);
    t.equal(formatXlCfg(edited), want, name);
    t.equal(formatXlCfg(cfg), text, `${name}: the old value is as it was`);
  }
  t.end();
});

void t.test('an edit that cannot be written is refused', (t) => {
  const cfg = parseXlCfg("a = 'x'\nvif = ['']\n");
  for (const bad of ['x\ny', 'x\0', '\x1b[0m', '\x7f', 'caf\u0119', '\u{1f600}', '\r', '\t']) {
    t.equal(refusal(() => setString(cfg, 'a', bad))?.code, 'invalid', JSON.stringify(bad));
  }
  for (const key of ['', 'A', '1a', 'a b', 'a=1', 'a\n', '_a']) {
    t.equal(refusal(() => setString(cfg, key, 'x'))?.code, 'invalid', `key ${JSON.stringify(key)}`);
  }
  t.equal(where(refusal(() => setString(cfg, 'vif', 'x'))), 'invalid 2:1', 'a list is not a string');
  t.equal(refusal(() => setNumber(cfg, 'a', 1.5))?.code, 'invalid');
  t.equal(refusal(() => setNumber(cfg, 'a', NaN))?.code, 'invalid');
  t.end();
});

void t.test('disks', (t) => {
  const plain = { format: 'raw', isCdrom: false, backendType: undefined, script: undefined };
  const volume = { ...plain, target: '/dev/vg/lv', vdev: 'hda', access: 'w' };
  const drive = { ...plain, target: '/i.iso', vdev: 'hdc', access: 'r', isCdrom: true };
  const emptyDrive = { ...drive, target: '', format: 'empty' };
  const iscsi = { ...plain, target: 'iqn.2001-05.com:0-8a', vdev: 'xvda', access: 'w', script: 'block-iscsi' };
  const cases = [
    { spec: 'file:/opt/disk.img,xvda2,w', want: { ...plain, target: '/opt/disk.img', vdev: 'xvda2', access: 'w' } },
    { spec: 'phy:/dev/vg/lv,hda,w', want: volume },
    { spec: 'phy:/dev/vg/lv,hda', want: volume },
    { spec: 'raw:/dev/vg/lv,hda,w', want: volume },
    { spec: 'tap:aio:/dev/vg/lv,hda,r', want: { ...volume, access: 'r' } },
    { spec: 'tap:qcow2:/dev/vg/lv,hda,w', want: { ...volume, format: 'qcow2' } },
    { spec: '/dev/vg/lv,,hda', want: volume },
    { spec: '/dev/vg/lv,raw,hda,rw', want: volume },
    { spec: ' /dev/vg/lv, raw, hda, ro', want: { ...volume, access: 'r' } },
    { spec: 'format=raw, vdev=hda, access=rw, target=/dev/vg/lv', want: volume },
    { spec: 'vdev=hda,target=/dev/vg/lv,', want: volume },
    { spec: 'vdev=hda,target=/a,b=c', want: { ...volume, target: '/a,b=c' } },
    { spec: 'format=qcow2,/dev/vg/lv,hda', want: { ...volume, format: 'qcow2' } },
    { spec: 'backendtype=phy,discard,trusted,vdev=hda,target=/dev/vg/lv', want: { ...volume, backendType: 'phy' } },
    { spec: 'backend=dom1,specification=xen,colo-port=7000,/dev/vg/lv,,hda', want: volume },
    { spec: '/i.iso,,hdc,cdrom', want: drive },
    { spec: '/i.iso,,hdc,,cdrom', want: drive },
    { spec: '/i.iso,raw,hdc,devtype=cdrom', want: drive },
    { spec: 'raw:/i.iso,hdc:cdrom,ro', want: drive },
    { spec: ',hdc:cdrom,r', want: emptyDrive },
    { spec: ',,hdc:cdrom,r', want: emptyDrive },
    { spec: 'devtype=cdrom,,,hdc', want: emptyDrive },
    { spec: 'vdev=hdc,access=r,devtype=cdrom', want: emptyDrive },
    { spec: 'iscsi:iqn.2001-05.com:0-8a,xvda,w', want: iscsi },
    { spec: 'vdev=xvda,access=w,script=block-iscsi,target=iqn.2001-05.com:0-8a', want: iscsi },
  ];
  for (const c of cases) t.strictSame(parseDiskSpec(c.spec), c.want, c.spec);
  const refused = [
    { spec: 'garbage', want: 'invalid 1:1' },
    { spec: '', want: 'invalid 1:1' },
    { spec: 'vdev=xvda', want: 'invalid 1:1' },
    { spec: '/a,raw', want: 'invalid 1:1' },
    { spec: '/a,bad,xvda', want: 'invalid 1:4' },
    { spec: 'file:/a,xvda,x', want: 'invalid 1:14' },
    { spec: '/a,raw,xvda,w,more', want: 'invalid 1:15' },
    { spec: 'http:/a,xvda,w', want: 'invalid 1:1' },
    { spec: '/a,raw,xvda,size=3', want: 'invalid 1:13' },
    { spec: 'file:/a=b,xvda,w', want: 'invalid 1:6' },
    { spec: '/a,raw,xvda,vdev=xvdb', want: 'invalid 1:13' },
    { spec: 'qcow2:/a,xvda,format=raw', want: 'invalid 1:15' },
    { spec: '/a,,xvda,backendtype=foo', want: 'invalid 1:10' },
    { spec: 'backendtype=phy,backendtype=tap,/a,,xvda', want: 'invalid 1:17' },
    { spec: '/a,,xvda:floppy', want: 'invalid 1:5' },
    { spec: '/a,,xvda,devtype=floppy', want: 'invalid 1:10' },
  ];
  for (const c of refused) t.equal(where(refusal(() => parseDiskSpec(c.spec))), c.want, c.spec);
  const listed = listDisks(parseXlCfg(XEN_TOOLS)).map((d) => [d.index, d.line, d.column, d.target, d.vdev, d.access]);
  t.strictSame(listed, [
    [0, 19, 19, '/srv/xen/disk.img', 'xvda2', 'w'],
    [1, 20, 19, '/srv/xen/swap.img', 'xvda1', 'w'],
  ]);
  t.strictSame(listDisks(parseXlCfg("disk = 'file:/a,xvda,w'")), [], 'a string is no list of disks, to xl too');
  const bad = parseXlCfg("disk = [ 'file:/a,xvda,w',\n 'file:/\\'b,xvdb,q' ]\n");
  t.equal(where(refusal(() => listDisks(bad))), 'invalid 2:18', 'a bad part is found in the file, escapes counted');
  t.end();
});

void t.test('properties', (t) => {
  const bytes = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)) });
  const tokens = fc.constantFrom(
    "'",
    '"',
    '\\',
    '=',
    '+=',
    '[',
    ']',
    ',',
    ';',
    '\n',
    '#',
    ' ',
    'a',
    'vif',
    "'x'",
    '1',
    '\r',
  );
  const noise = fc.oneof(
    bytes,
    fc.array(tokens, { maxLength: 20 }).map((parts) => parts.join('')),
  );
  const line = fc.string({
    unit: fc
      .integer({ min: 0x20, max: 0xff })
      .filter((code) => code !== 0x7f)
      .map((code) => String.fromCharCode(code)),
  });

  void t.test('a parse keeps every byte', (t) => {
    fc.assert(fc.property(arbitraryCfg(), (text) => formatXlCfg(parseXlCfg(text)) === text));
    t.end();
  });

  void t.test('any bytes are either parsed whole or refused with a place in the text', (t) => {
    fc.assert(
      fc.property(noise, (text) => {
        const error = refusal(() => t.equal(formatXlCfg(parseXlCfg(text)), text));
        if (error === undefined) return true;
        const lines = text.split('\n');
        const atLine = lines[Number(error.details['line']) - 1];
        return error.code === 'invalid' && atLine !== undefined && Number(error.details['column']) <= atLine.length + 1;
      }),
      { numRuns: 1000 },
    );
    t.end();
  });

  void t.test('setString reads back and changes the bytes of one value only', (t) => {
    fc.assert(
      fc.property(arbitraryCfg(), line, arbitraryCfg(), (before, value, after) => {
        const head = `${before}\nedited_key = `;
        const cfg = setString(parseXlCfg(`${head}'old' # old\n${after}`), 'edited_key', value);
        const text = formatXlCfg(cfg);
        t.equal(getString(cfg, 'edited_key'), value);
        return text.startsWith(`${head}'`) && text.endsWith(`' # old\n${after}`);
      }),
    );
    t.end();
  });

  void t.test('setNumber reads back, and a second time changes nothing', (t) => {
    fc.assert(
      fc.property(arbitraryCfg(), fc.maxSafeInteger(), (text, value) => {
        const cfg = setNumber(parseXlCfg(text), 'some.number', value);
        return getNumber(cfg, 'some.number') === value && setNumber(cfg, 'some.number', value) === cfg;
      }),
    );
    t.end();
  });

  void t.test('removeKey leaves the other keys as they were', (t) => {
    fc.assert(
      fc.property(arbitraryCfg(), fc.constantFrom('a', 'b', 'vif', 'name'), (text, key) => {
        const cfg = parseXlCfg(text);
        const removed = removeKey(cfg, key);
        t.notOk(removed.assignments.some((assignment) => assignment.key === key));
        const rest = cfg.assignments.filter((assignment) => assignment.key !== key);
        const bytesOf = ({ text }: { text: string }, list: typeof rest) =>
          list.map(({ start, end }) => text.slice(start, end));
        t.strictSame(bytesOf(removed, [...removed.assignments]), bytesOf(cfg, rest));
      }),
    );
    t.end();
  });
  t.end();
});
