import type { Option } from 'commander';
import t from 'tap';
import { globalOptions, NOUNS, PLAIN_VERBS } from '../../controller/cli/program.js';
import { FleetCli } from '../harness/fleet-cli.js';

// For every flag of every command something that it refuses, and what it says. A flag that is new fails here until it has a
// line in REFUSED, unless its kind alone tells what is bad: one with choices, and one without a value. A verb whose arguments
// are new kinds of things wants a line in ARGUMENTS, or in ARGS.

interface Refusal {
  readonly value: string;
  readonly says: RegExp;
  /** Instead of the arguments of the verb: what else has to be given for this flag to be looked at. */
  readonly args?: string;
}

const FAR = '10.99.99.99';
/** Never fetched: a dry run takes its word. */
const IMAGE = 'web --dry-run --image https://images.example.org/debian.img';
const INSTALL = 'web --installer debootstrap';
const CLONE = 'domU@dom0-1 web --kernel /vmlinuz';
const LONG = 'x'.repeat(300);
const COUNT = /--\S+ <\S+>' argument '0' is invalid. It must be a whole number/;
const DURATION = /argument '0s' is invalid. It must be a duration of/;

/** By "NOUN VERB --flag", else by "--flag" alone. */
const REFUSED: Readonly<Record<string, Refusal>> = {
  '--reservation': { value: 'nope', says: /reservation "nope" does not exist/ },
  '--host': { value: 'nope', says: /"nope" is unknown/ },
  '--vm': { value: 'nope', says: /"nope" is unknown/ },
  '--kind': { value: 'nope', says: /--kind: "nope" is no kind/ },
  '--address': { value: '10.180.0.256', says: /--address: .*10\.180\.0\.256/ },
  'event list --address': { value: '10.180.0.256', says: /10\.180\.0\.256/ },
  '--mac': { value: '01:16:3e:00:00:01', says: /01:16:3e:00:00:01 is no MAC/ },
  '--bridge': { value: LONG, says: /--bridge is longer than/ },
  '--like': { value: 'nope', says: /there is no VM nope to copy/ },
  '--on': { value: 'nope-[1-2]', says: /"nope-\[1-2\]" matches no host/ },
  '--limit': { value: '0', says: COUNT },
  '--count': { value: '0', says: COUNT },
  '--memory': { value: '0', says: COUNT },
  '--vcpus': { value: '0', says: COUNT },
  '--disk': { value: '0', says: COUNT },
  '--swap': { value: '0', says: COUNT },
  '--extra-disk': { value: '0', says: COUNT },
  '--extra-vif': { value: LONG, says: /is no name of a bridge/ },
  '--max': { value: '0', says: COUNT },
  '--lines': { value: '0', says: COUNT },
  '--parallel': { value: '0', says: COUNT },
  '--uses': { value: '0', says: COUNT },
  '--days': { value: '0', says: COUNT },
  '--prefix': { value: '0', says: COUNT },
  '--timeout': { value: '0s', says: DURATION },
  '--to': { value: 'nope', says: /host "nope" is unknown/ },
  '--ttl': { value: '0s', says: DURATION },
  '--user': { value: '-oProxyCommand=x', says: /--user .*'-oProxyCommand=x' is invalid. It is no name of a user/ },
  '--key': { value: '/nonexistent/key.pub', says: /\/nonexistent\/key\.pub/ },
  '--file': { value: '/nonexistent/nodes', says: /\/nonexistent\/nodes cannot be read/, args: '' },
  '--artefact': { value: '/nonexistent/artefact.json', says: /\/nonexistent\/artefact\.json/ },
  '--ssh-config': { value: '/nonexistent/config', says: /--ssh-config .*There is no such file/ },
  '--name': { value: 'a/b', says: /"a\/b" has "\/"/ },
  '--ends': { value: 'tonight', says: /"tonight" is not a point in time/ },
  '--starts': { value: 'tonight', says: /"tonight" is not a point in time/ },
  '--gateway': { value: '10.0.0', says: /--gateway: "10\.0\.0" is not an IPv4/ },
  '--broadcast': { value: '10.0.0', says: /--broadcast: "10\.0\.0" is not an IPv4/ },
  '--dns': { value: '10.0.0', says: /--dns: "10\.0\.0" is not an IPv4/ },
  '--domain': { value: 'a b', says: /--domain: host name "a b" has " "/ },
  '--exclude': { value: '10.0.0', says: /--exclude: "10\.0\.0" is not an IPv4/ },
  '--job': { value: 'a b', says: /--job has a character/ },
  '--site': { value: LONG, says: /--site is longer than/ },
  'reservation import --user': { value: 'a b', says: /"a b" has " "/ },
  '--out': { value: '/dev/null/x', says: /\/dev\/null\/x cannot be made/ },
  '--label': { value: 'role', says: /"role" is no label/ },
  '--apart': { value: 'a b', says: /"a b" is no key of a label/ },
  '--image': { value: '/nonexistent/a.img', says: /there is no image \/nonexistent\/a\.img/, args: 'web' },
  '--sha256': { value: 'abc', says: /"abc" is no SHA-256/ },
  'vm create --sha256': { value: 'abc', says: /"abc" is no SHA-256/, args: IMAGE },
  'plan --sha256': { value: 'abc', says: /"abc" is no SHA-256/, args: IMAGE.replace('--dry-run ', '') },
  '--user-data': { value: '/nonexistent/seed', says: /user data cannot be read.*\/nonexistent\/seed/, args: IMAGE },
  '--dist': { value: 'Book worm', says: /"Book worm" is no name of a distribution/, args: INSTALL },
  '--mirror': { value: 'ftp://x', says: /"ftp:\/\/x" is no mirror/, args: INSTALL },
  '--tarball': { value: 'a.tar', says: /"a\.tar" is no absolute path of the host/, args: INSTALL },
  '--kernel': { value: 'vmlinuz', says: /vmlinuz is no absolute path of the dom0/, args: IMAGE },
  '--ramdisk': { value: 'initrd', says: /initrd is no absolute path of the dom0/, args: `${IMAGE} --kernel /vmlinuz` },
  '--cmdline': { value: 'x'.repeat(2_049), says: /--cmdline has more than 2048/, args: `${IMAGE} --kernel /vmlinuz` },
  'vm clone --user-data': {
    ...{ value: '/nonexistent/seed', says: /user data cannot be read.*\/nonexistent\/seed/ },
  },
  'vm clone --kernel': { value: 'vmlinuz', says: /vmlinuz is no absolute path of the dom0/ },
  'vm clone --ramdisk': { value: 'initrd', says: /initrd is no absolute path of the dom0/, args: CLONE },
  'vm clone --cmdline': { value: 'x'.repeat(2_049), says: /--cmdline has more than 2048/, args: CLONE },
  '--resolve': { value: '-x', says: /"-x" is no name to resolve/ },
  '--output': { value: 'nope', says: /output format "nope" makes no sense/ },
  '--socket': { value: '/nonexistent/socket', says: /no controller answers at \/nonexistent\/socket/ },
  '--controller': { value: 'nowhere', says: /--controller .*'nowhere' is invalid. It must be HOST:PORT/ },
  '--identity': {
    value: '/nonexistent/me',
    says: /identity cannot be read.*\/nonexistent\/me/,
    args: '--controller 127.0.0.1:1',
  },
  '--request-id': { value: 'a b', says: /--request-id.*'a b' is invalid. It must be 8 to 64 characters/ },
};

/** Something for each placeholder; a blank separates words. */
const ARGUMENTS: Readonly<Record<string, string>> = {
  vm: 'domU@dom0-1',
  'vm-or-label': 'domU@dom0-1 a=b',
  host: 'dom0-1',
  node: 'dom0-9',
  reservation: 'job42',
  name: 'web',
  image: 'none',
  command: '-- true',
  file: '/dev/null',
  'file|url': '/dev/null',
  destination: '/tmp',
  path: './a domU@dom0-1:/tmp',
  address: FAR,
  'address|mac|name': FAR,
  count: '1',
  'on|off': 'on',
  word: '',
};
/** Of a verb that needs others, or more. */
const ARGS: Readonly<Record<string, string>> = {
  'vm create': 'web --like domU',
  plan: 'web --like domU',
  'reservation import': '-',
  'vm copy': '/dev/null /tmp domU@dom0-1',
};
/** For flags that a verb can do nothing without. */
const NEEDED: Readonly<Record<string, string>> = {
  '--for': 'running',
  '--ends': '+1h',
  '--out': '/tmp/none',
  '--to': 'dom0-1',
  '--file': '/dev/null',
};

interface Command {
  readonly path: string;
  readonly args: string | undefined;
  readonly options: readonly Option[];
}

const COMMANDS: readonly Command[] = [
  ...NOUNS.flatMap(({ name, verbs }) => verbs.map((verb) => ({ ...verb, path: `${name} ${verb.name}` }))),
  ...PLAIN_VERBS.map((verb) => ({ ...verb, path: verb.name })),
  { path: 'vm list', args: '', options: globalOptions() },
].map(({ path, args, options = [] }) => ({ path, args, options }));

/** @throws for a placeholder or a flag that the tables above do not know */
function argsOf({ path, args = '', options }: Command, flag: string): readonly string[] {
  const placeholders = [...args.matchAll(/[<[]([^\]>.]+)(?:\.\.\.)?[>\]]/g)].map(([, name = '']) => name);
  const given = ARGS[path] ?? placeholders.map((name) => known(ARGUMENTS, name, `ARGUMENTS, for ${path}`)).join(' ');
  const needed = options
    .filter(({ mandatory, long }) => mandatory && long !== flag)
    .flatMap(({ long }) => [String(long), known(NEEDED, String(long), `NEEDED, for ${path}`)]);
  return beforeDashes(wordsOf(given), needed);
}

function known(table: Readonly<Record<string, string>>, key: string, where: string): string {
  const value = table[key];
  if (value === undefined) throw new Error(`${key} has no line in ${where}`);
  return value;
}

function wordsOf(text: string): readonly string[] {
  return text.split(' ').filter(Boolean);
}

/** What stands behind -- is no more for us. */
function beforeDashes(words: readonly string[], more: readonly string[]): readonly string[] {
  const at = words.includes('--') ? words.indexOf('--') : words.length;
  return [...words.slice(0, at), ...more, ...words.slice(at)];
}

function refusalOf({ path }: Command, { long, argChoices, required, optional }: Option): Refusal | undefined {
  const flag = String(long);
  if (argChoices) return { value: 'nonsense', says: /argument 'nonsense' is invalid. Allowed choices are/ };
  if (!required && !optional) return { value: 'yes', says: new RegExp(`unknown option '${flag}=yes'`) };
  return REFUSED[`${path} ${flag}`] ?? REFUSED[flag];
}

function lineOf(command: Command, flag: string, { value, args }: Refusal): readonly string[] {
  const given = args === undefined ? argsOf(command, flag) : wordsOf(args);
  return [...command.path.split(' '), ...beforeDashes(given, [`${flag}=${value}`])];
}

const WALK = COMMANDS.flatMap((command) =>
  command.options.map((option) => {
    const flag = String(option.long);
    return { command, flag, refusal: refusalOf(command, option) };
  }),
);

t.test('every flag has something that it refuses, and what is listed is a flag', (t) => {
  const flags = new Set(WALK.flatMap(({ command, flag }) => [flag, `${command.path} ${flag}`]));
  const missing = WALK.filter(({ refusal }) => !refusal).map(({ command, flag }) => `${command.path} ${flag}`);
  t.same(missing, [], 'each has a line in REFUSED');
  t.same(
    Object.keys(REFUSED).filter((key) => !flags.has(key)),
    [],
    'no line is of a flag that is gone',
  );
  t.ok(WALK.length > 180, 'all were walked');
  t.end();
});

t.test('every flag refuses what is no value of it, and says so', async (t) => {
  const cli = new FleetCli();
  t.teardown(() => cli.fleet.stop());
  await cli.start(['dom0-1'], 1);
  await cli.ok('reservation import - --name job42 --ends +8h --gateway 10.183.255.254 --prefix 14', {
    stdin: '10.180.0.0/22',
  });
  const before = await cli.everything();
  for (const { command, flag, refusal } of WALK) {
    if (!refusal) continue;
    const line = lineOf(command, flag, refusal);
    const { exitCode, err } = await cli.runWords(line, { stdin: '10.180.8.0/22' });
    const shown = line.join(' ').slice(0, 120);
    t.notOk([0, 1].includes(exitCode), `${shown}: it is refused, and that is no fault of ours`);
    t.match(err, refusal.says, `${command.path} ${flag} says what is wrong`);
    t.match(err, /^hint: \S/m, `${command.path} ${flag} says what to do`);
  }
  t.equal(await cli.everything(), before, 'nothing has changed');
});
