import { firstAddress, lastAddress, parseCidr, type Cidr } from '../../shared/domain/cidr.js';
import { AppError, invalid, wrongState } from '../../shared/errors.js';
import { completeSettings, type SubnetSource } from './subnet-source.js';

/** Times are milliseconds since 1970, the end exclusive; absent while the scheduler has not decided. */
export interface G5kJobSource extends SubnetSource {
  readonly jobId?: string;
  readonly site?: string;
  readonly user?: string;
  readonly startsAtMs?: number;
  readonly endsAtMs?: number;
}

type Json = Readonly<Record<string, unknown>>;

const HINT = 'give one job, as curl https://api.grid5000.fr/stable/sites/SITE/jobs/JOBID prints it';

/** The end of an OAR job's life: the addresses may belong to somebody else by now. */
const OVER = ['terminated', 'error', 'toerror'];

/**
 * Reads a job as the Grid'5000 API describes it (grid5000/g5k-api, spec/controllers/jobs_controller_spec.rb has the keys).
 *
 * @throws {AppError} `invalid` if it is no such job or has no subnets; `wrong_state` if the job has ended
 */
export function parseG5kJob(json: string): G5kJobSource {
  const job = readJob(json);
  const cidrs = subnetsOf(job);
  const jobId = textOf(job['uid']);
  refuseEnded(job, jobId);
  const ranges = cidrs.map((cidr) => ({ first: firstAddress(cidr), last: lastAddress(cidr) }));
  const domain = domainOf(job);
  const told = { dns: [], ...(domain !== undefined && { domain }) };
  const { settings, warnings } = completeSettings(told, ranges);
  const site = siteOf(job);
  const user = textOf(job['user_uid']) ?? textOf(job['user']);
  return {
    source: 'g5k-api',
    cidrs,
    addresses: [],
    told,
    settings,
    warnings,
    ...(jobId !== undefined && { jobId }),
    ...(site !== undefined && { site }),
    ...(user !== undefined && { user }),
    ...timesOf(job),
  };
}

function readJob(json: string): Json {
  const value = parseJson(json);
  if (!isObject(value)) throw invalid('the source is JSON, but not an object', { hint: HINT });
  if (Array.isArray(value['items']))
    throw invalid("the source is a list of the Grid'5000 API, not one job", { hint: HINT });
  if (value['resources_by_type'] === undefined)
    throw invalid("the source is not a job of the Grid'5000 API", { hint: HINT });
  return value;
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch (error) {
    throw new AppError('invalid', 'the source is not valid JSON', { hint: HINT }, error);
  }
}

function subnetsOf(job: Json): Cidr[] {
  const resources = job['resources_by_type'];
  const subnets = isObject(resources) ? resources['subnets'] : undefined;
  if (subnets === undefined || (Array.isArray(subnets) && subnets.length === 0)) throw noSubnets(job);
  if (!Array.isArray(subnets)) throw invalid('the job has subnets that are not a list', { hint: HINT });
  return subnets.map((subnet: unknown, n) => {
    if (typeof subnet !== 'string') throw invalid(`the job's subnet ${n + 1} is not a text`, { hint: HINT });
    return parseCidr(subnet);
  });
}

function noSubnets(job: Json): AppError {
  const state = textOf(job['state']);
  return invalid('the job has no subnets', {
    ...(state !== undefined && { state }),
    hint:
      state === 'waiting'
        ? 'the job waits, and gets its subnets when it starts'
        : 'reserve them with the nodes: oarsub -l slash_22=1+nodes=2',
  });
}

function refuseEnded(job: Json, jobId: string | undefined): void {
  const state = textOf(job['state']);
  if (state === undefined || !OVER.includes(state.toLowerCase())) return;
  throw wrongState(`job ${jobId ?? ''} has ended (${state}): its subnets may belong to another job now`, { state });
}

/** The API has unix seconds, the walltime too; 0 stands for not yet known. */
function timesOf(job: Json): { startsAtMs?: number; endsAtMs?: number } {
  const start = secondsOf(job['started_at']) ?? secondsOf(job['scheduled_at']);
  const walltime = secondsOf(job['walltime']);
  if (start === undefined) return {};
  return { startsAtMs: start * 1000, ...(walltime !== undefined && { endsAtMs: (start + walltime) * 1000 }) };
}

/** Job and list link to `/sites/SITE`, with or without a version before it and the job behind it. */
function siteOf(job: Json): string | undefined {
  const links: unknown[] = Array.isArray(job['links']) ? job['links'] : [];
  for (const link of links) {
    const href = isObject(link) ? link['href'] : undefined;
    const site = typeof href === 'string' ? /\/sites\/([a-z\d-]+)(\/|$)/.exec(href)?.[1] : undefined;
    if (site !== undefined) return site;
  }
  return domainOf(job)?.split('.')[0];
}

/** paramount-4.rennes.grid5000.fr -> rennes.grid5000.fr */
function domainOf(job: Json): string | undefined {
  const nodes: unknown[] = Array.isArray(job['assigned_nodes']) ? job['assigned_nodes'] : [];
  const [node] = nodes;
  return typeof node === 'string' ? /^[\w-]+\.([a-z\d-]+\.grid5000\.fr)$/.exec(node)?.[1] : undefined;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A text that is not empty, or a whole number as text: ids are either. */
function textOf(value: unknown): string | undefined {
  if (typeof value === 'string' && value !== '') return value;
  return typeof value === 'number' && Number.isSafeInteger(value) ? `${value}` : undefined;
}

function secondsOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 && value < 2 ** 40 ? value : undefined;
}
