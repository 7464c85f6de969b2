import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { AppError, invalid, messageOf } from '../../shared/errors.js';
import { parseHostName, type HostName } from '../../shared/domain/name.js';
import { readArtefact, type Artefact } from './dom0/artefact.js';
import { ControllerSide } from './dom0/controller-side.js';
import { dom0FolderOf, type Dom0Folder, type Dom0Record } from './dom0/dom0-folder.js';
import { endpointsOf, type ListenFacts } from './dom0/endpoint.js';
import { exitCodeOfAll } from './dom0/exit-code.js';
import { fanOut } from './fan-out.js';
import { HostLines } from './dom0/host-lines.js';
import { parseNodeList, uniqueNodes } from './dom0/node-list.js';
import type { Wanted } from './dom0/plan.js';
import { setUpDom0, type SetupResult, type SetupTarget } from './dom0/setup.js';
import { outcomeText, printPlans, printResults } from './dom0/setup-view.js';
import { Ssh } from './dom0/ssh.js';
import { expandHosts, expandNewHosts } from './host-selection.js';
import { openTunnel, tunnelTo } from './host-tunnel-action.js';
import type { Invocation } from './invocation.js';

export interface ReachOptions {
  readonly user?: string;
  readonly sshConfig?: string;
  readonly acceptNewHostKey?: boolean;
  readonly parallel?: number;
}

export interface AddOptions extends ReachOptions {
  readonly file?: string;
  readonly via?: string;
  readonly artefact?: string;
  readonly dryRun?: boolean;
}

export interface UpgradeOptions extends ReachOptions {
  readonly all?: boolean;
  readonly artefact?: string;
  readonly dryRun?: boolean;
}

const PARALLEL = 10;

export async function addHosts(call: Invocation, names: readonly string[], options: AddOptions): Promise<number> {
  const hosts = await readNodes(call, names, options.file);
  return setUp(call, 'add', () => Promise.resolve(hosts), options);
}

export async function upgradeHosts(
  call: Invocation,
  names: readonly string[],
  options: UpgradeOptions,
): Promise<number> {
  if ((options.all ?? false) === names.length > 0) {
    throw invalid('either hosts or --all', { hint: 'domherd host upgrade dom0-1, or domherd host upgrade --all' });
  }
  const named = (await expandHosts(call, names)).map(parseHostName);
  const choose = async (controller: ControllerSide): Promise<readonly HostName[]> =>
    options.all ? (await controller.list()).map(({ name }) => parseHostName(name)) : uniqueNodes(named);
  return setUp(call, 'upgrade', choose, options);
}

/** @throws {AppError} `invalid` (a name, or none), `not_found` (the file) */
async function readNodes(
  call: Invocation,
  names: readonly string[],
  file: string | undefined,
): Promise<readonly HostName[]> {
  const listed = file === undefined ? [] : parseNodeList(await readList(call, file), file);
  const hosts = uniqueNodes([...expandNewHosts(names).map(parseHostName), ...listed]);
  if (hosts.length > 0) return hosts;
  throw invalid('no node was given', { hint: 'domherd host add NODE..., or domherd host add --file $OAR_NODE_FILE' });
}

async function readList({ world }: Invocation, file: string): Promise<string> {
  if (file === '-') return text(world.stdin);
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const hint = 'inside a job $OAR_NODE_FILE names it; "-" reads the standard input';
    throw new AppError('not_found', `${file} cannot be read: ${messageOf(error)}`, { path: file, hint }, error);
  }
}

async function setUp(
  call: Invocation,
  verb: Wanted['verb'],
  choose: (controller: ControllerSide) => Promise<readonly HostName[]>,
  options: AddOptions,
): Promise<number> {
  const { exec, signal } = call.world;
  const artefact = await readArtefact(artefactPath(call, options.artefact));
  const folder = dom0FolderOf(call.world);
  await folder.make();
  const lines = new HostLines(call);
  const results = await ControllerSide.with(call, async (controller) => {
    const endpoints = endpointsOf(controller.info);
    const hosts = await choose(controller);
    return Ssh.with(exec, (ssh) =>
      fanOut(hosts, options.parallel ?? PARALLEL, async (host) => {
        const target = await targetOf(call, folder, host, controller.info, { ...options, verb });
        const result = await setUpDom0(target, {
          ...{ ssh, folder, controller, endpoints, artefact, verb, signal },
          isDryRun: options.dryRun ?? false,
          tell: (name, text, note) => lines.step(name, text, note),
          openTunnel: (name) => openTunnel(call, folder, name),
        });
        lines.done(host, outcomeText(result, options.dryRun ?? false));
        return result;
      }),
    );
  });
  return report(call, results, artefact, options.dryRun ?? false);
}

function artefactPath({ world }: Invocation, given: string | undefined): string {
  return given === undefined ? resolve(world.programFolder, '../agent/artefact.json') : resolve(given);
}

async function targetOf(
  call: Invocation,
  folder: Dom0Folder,
  host: HostName,
  listen: ListenFacts,
  { verb, ...options }: AddOptions & { readonly verb: Wanted['verb'] },
): Promise<SetupTarget> {
  const before = await folder.load(host);
  const jobId = call.world.env['OAR_JOB_ID'] || null;
  // Another job has deployed the node anew: its old key says nothing any more.
  const isOtherJob = verb === 'add' && before !== undefined && jobId !== null && jobId !== before.jobId;
  const record: Dom0Record = {
    user: options.user ?? before?.user ?? 'root',
    sshConfig: options.sshConfig === undefined ? (before?.sshConfig ?? null) : resolve(options.sshConfig),
    jobId: verb === 'add' ? jobId : (before?.jobId ?? null),
    tunnel:
      options.via === undefined ? (before?.tunnel ?? null) : options.via === 'ssh' ? tunnelTo(call, listen) : null,
  };
  return { host, record, acceptsNewKey: options.acceptNewHostKey === true || isOtherJob };
}

function report(call: Invocation, results: readonly SetupResult[], artefact: Artefact, isDryRun: boolean): number {
  if (isDryRun) printPlans(call, results, artefact);
  else printResults(call, results, artefact);
  if (call.world.signal.aborted) throw new AppError('unavailable', 'interrupted');
  return exitCodeOfAll(results.map(({ error }) => error));
}
