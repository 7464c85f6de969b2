import { Fleet } from '../harness/fleet.js';

// `npm run demo`: the controller with three simulated dom0s, the first steps of the tutorial, then the fleet stays up.
// `-- --once` ends after the steps: exit 0 if each did what is expected of it.

/** What `g5k-subnets -a` prints for a /22 of the site's /14. */
const G5K_SUBNETS =
  '10.180.0.0/22\t10.183.255.255\t255.252.0.0\t10.183.255.254\t10.180.0.0\tdns.grenoble.grid5000.fr\t172.16.16.247\n';
const HOSTS = ['dom0-1', 'dom0-2', 'dom0-3'];
const VMS_PER_HOST = 4;
/** Long enough for progress to be seen. */
const SIM = ['copy-ms=1200'];

interface Step {
  readonly why: string;
  readonly args: readonly string[];
  readonly stdin?: string;
  /** The exit code that is right; 0 unless said. */
  readonly exitCode?: number;
  readonly expect?: RegExp;
}

const STEPS: readonly Step[] = [
  {
    why: 'the reserved subnets, as the testbed prints them',
    args: ['reservation', 'import', '-', '--name', 'job42', '--ends', '+8h'],
    stdin: G5K_SUBNETS,
  },
  { why: 'what there is to give', args: ['reservation', 'show', 'job42'], expect: /10\.180\.0\.0\/22/ },
  {
    why: 'the next three addresses, with the MACs that go with them',
    args: ['lease', 'next', '3'],
    expect: /10\.180\.0\.1/,
  },
  { why: 'the dom0s', args: ['host', 'list'], expect: /simulated/ },
  { why: 'the domUs, as the image brought them', args: ['vm', 'list'], expect: /domU/ },
  { why: 'every copy of an image has its MAC', args: ['conflict', 'list'], expect: /00:16:3e/ },
  {
    why: 'starting two of them at once would hurt: the gate says no',
    args: ['vm', 'start', 'domU@dom0-1', 'domU@dom0-2'],
    exitCode: 10,
  },
  { why: 'so back down', args: ['vm', 'destroy', 'domU@dom0-1', '--yes'] },
  {
    why: 'what would be done for two hosts with one image',
    args: ['vm', 'address', 'domU@dom0-1', 'domU@dom0-2', '--dry-run'],
  },
  {
    why: 'two hosts, one image, two addresses',
    args: ['vm', 'address', 'domU@dom0-1', 'domU@dom0-2'],
    expect: /10\.180\.0\.2/,
  },
  { why: 'the rest of the fleet', args: ['vm', 'address', '--all'] },
  { why: 'no conflict is left', args: ['conflict', 'list', '-o', 'json'], expect: /^\[\]/ },
  {
    why: 'nine copies of a stopped VM, spread over the dom0s: simulated ones, but for their disks all is done',
    args: ['vm', 'create', 'web', '--count', '9', '--like', 'domU', '--memory', '64'],
    expect: /web-9@dom0-\d +done +stopped +10\.180\.0\.\d+ +simulated/,
  },
  { why: 'all up', args: ['vm', 'start', '--all'] },
  { why: 'and wait for them', args: ['vm', 'wait', '--all', '--for=running'] },
  {
    why: 'the tutorial kept this file by hand',
    args: ['vm', 'list', '-o', 'ips'],
    expect: /^(10\.180\.0\.\d+\n){21}$/,
  },
  { why: 'who has which address', args: ['lease', 'list'], expect: /bound/ },
  { why: 'what happened to one of them', args: ['lease', 'history', '10.180.0.1'], expect: /lease\.bound/ },
];

async function runStep(fleet: Fleet, step: Step): Promise<boolean> {
  const pipe = step.stdin === undefined ? '' : 'g5k-subnets -a | ';
  console.log(`\n# ${step.why}\n$ ${pipe}domherd ${step.args.join(' ')}`);
  const { exitCode, stdout } = await fleet.domherdLive(step.args, step.stdin);
  process.stdout.write(stdout);
  const isExpected = exitCode === (step.exitCode ?? 0) && (step.expect?.test(stdout) ?? true);
  if (!isExpected) console.log(`FAILED: exit code ${String(exitCode)}, or not the output that this step is about`);
  return isExpected;
}

/** @returns how many steps went wrong */
async function runSteps(fleet: Fleet): Promise<number> {
  console.log('Starting a controller and three SIMULATED dom0s (no Xen is involved) ...');
  await fleet.startController();
  await Promise.all(HOSTS.map((host) => fleet.startAgent(host, VMS_PER_HOST, SIM)));
  let failed = 0;
  for (const step of STEPS) failed += (await runStep(fleet, step)) ? 0 : 1;
  console.log(`\n${String(STEPS.length - failed)} of ${String(STEPS.length)} steps did what they should`);
  return failed;
}

function untilInterrupted(): Promise<void> {
  return new Promise((resolve) => {
    const pulse = setInterval(() => undefined, 60_000);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        clearInterval(pulse);
        resolve();
      });
    }
  });
}

async function main(): Promise<void> {
  const fleet = new Fleet();
  const interrupted = untilInterrupted();
  try {
    const run = runSteps(fleet);
    const failed = await Promise.race([run, interrupted.then(() => 0)]);
    process.exitCode = failed === 0 ? 0 : 1;
    if (process.argv.includes('--once')) return;
    console.log(`\nThe fleet is up until Ctrl-C. In another terminal:\n  export DOMHERD_SOCKET=${fleet.socket}`);
    console.log(`  alias domherd='node ${process.cwd()}/dist/cli/domherd.mjs'\n  domherd vm list`);
    await interrupted;
  } finally {
    await fleet.stop();
  }
}

await main();
process.exit();
