// Invariants:
// - After the plan, no two vifs of this dom0 have one MAC, and each has one of its own that is fit for a NIC.
// - A file is rewritten or refused as a whole; a rewrite changes MACs and nothing else.
// - What is not known to be right is held back, never started.
import { AppError, messageOf } from '../../shared/errors.js';
import { formatIpv4 } from '../../shared/domain/ipv4.js';
import { formatMac, isMulticastMac, parseMac, xenMacFromBits, type Mac } from '../../shared/domain/mac.js';
import { isLive, keyOf, type LeaseRecord } from './lease-record.js';
import type { MacPolicy } from './mac-policy.js';
import { listVifs, setVifParameter, type Vif } from './xl-cfg/vif.js';
import type { XlCfg } from './xl-cfg/syntax.js';
import { formatXlCfg, parseXlCfg } from './xl-cfg/xl-cfg.js';

export type BootFile =
  | { readonly kind: 'text'; readonly path: string; readonly text: string }
  /** Not to be touched. Its text, where it could be read, tells of MACs that are better not drawn. */
  | { readonly kind: 'refused'; readonly path: string; readonly problem: string; readonly text?: string };

/** What xendomains starts: a file in its folder, or a link from there. */
export interface AutostartEntry {
  readonly path: string;
  /** The path of the {@link BootFile} that it is or leads to. */
  readonly file: string;
}

export interface BootFacts {
  readonly files: readonly BootFile[];
  readonly autostart: readonly AutostartEntry[];
  /** Of running domUs, made by xendomains at the last shutdown. */
  readonly savedStates: readonly string[];
  /** Those of this deployment. */
  readonly leases: readonly LeaseRecord[];
  readonly isNewDeployment: boolean;
  readonly policy: MacPolicy;
  readonly nowMs: number;
}

export type MacReason =
  'leased' | 'kept' | 'new deployment' | 'every boot' | 'no mac' | 'place holder' | 'multicast' | 'duplicate';

export interface VifOutcome {
  readonly file: string;
  readonly vif: number;
  /** As written; `undefined`: none. */
  readonly old: string | undefined;
  readonly new: string;
  readonly reason: MacReason;
}

export interface Refusal {
  readonly file: string;
  readonly reason: string;
}

export interface Rewrite {
  readonly path: string;
  readonly before: string;
  readonly after: string;
}

export interface Hold {
  readonly kind: 'autostart' | 'saved state';
  readonly path: string;
  readonly reason: string;
}

export interface BootPlan {
  readonly vifs: readonly VifOutcome[];
  readonly refusals: readonly Refusal[];
  readonly rewrites: readonly Rewrite[];
  readonly holds: readonly Hold[];
}

/** Of a fleet's size, one is free at the first try; 64 in a row that are not are no accident. */
const MAX_TRIES = 64;

interface ParsedFile {
  readonly path: string;
  readonly cfg: XlCfg;
  readonly vifs: readonly Vif[];
}

type PlannedFile =
  | { readonly kind: 'planned'; readonly outcomes: readonly VifOutcome[]; readonly rewrite: Rewrite | undefined }
  | ({ readonly kind: 'refused' } & Refusal);

/**
 * What the boot step is to do: a MAC for each vif, and what is held back from xendomains.
 *
 * @param draw a random integer of 0 to 2**24 - 1 at each call
 */
export function planBoot(facts: BootFacts, draw: () => number): BootPlan {
  const parsed = facts.files.map(parseFile);
  const files = parsed.filter((file) => file.kind === 'parsed');
  const choice = new MacChoice(facts, files, draw);
  const planned = parsed.map((file) => (file.kind === 'parsed' ? planFile(file, choice) : file));
  const refusals = planned.filter((file) => file.kind === 'refused').map(({ file, reason }) => ({ file, reason }));
  const done = planned.filter((file) => file.kind === 'planned');
  return {
    vifs: done.flatMap(({ outcomes }) => outcomes),
    refusals,
    rewrites: done.flatMap(({ rewrite }) => rewrite ?? []),
    holds: [...holdAutostart(facts, files, refusals), ...holdSavedStates(facts)],
  };
}

/** The autostart entries that cannot stay because their files could not be written. */
export function holdUnwritten(
  autostart: readonly AutostartEntry[],
  holds: readonly Hold[],
  failures: readonly Refusal[],
): readonly Hold[] {
  const held = new Set(holds.map(({ path }) => path));
  return autostart.flatMap(({ path, file }) => {
    const failure = failures.find((one) => one.file === file);
    return failure === undefined || held.has(path) ? [] : [{ kind: 'autostart', path, reason: failure.reason }];
  });
}

function parseFile(
  file: BootFile,
): ({ readonly kind: 'parsed' } & ParsedFile) | ({ readonly kind: 'refused' } & Refusal) {
  const { path } = file;
  if (file.kind === 'refused') return { kind: 'refused', file: path, reason: file.problem };
  try {
    const cfg = parseXlCfg(file.text);
    return { kind: 'parsed', path, cfg, vifs: listVifs(cfg) };
  } catch (error) {
    return { kind: 'refused', file: path, reason: messageOf(error) };
  }
}

function planFile({ path, cfg, vifs }: ParsedFile, choice: MacChoice): PlannedFile {
  try {
    const outcomes = vifs.map((vif) => choice.choose(path, vif));
    const after = outcomes.reduce(rewriteVif, cfg);
    const texts = { before: formatXlCfg(cfg), after: formatXlCfg(after) };
    const rewrite = texts.before === texts.after ? undefined : { path, ...texts };
    return { kind: 'planned', outcomes, rewrite };
  } catch (error) {
    return { kind: 'refused', file: path, reason: messageOf(error) };
  }
}

function rewriteVif(cfg: XlCfg, outcome: VifOutcome): XlCfg {
  return outcome.old === outcome.new ? cfg : setVifParameter(cfg, outcome.vif, 'mac', outcome.new);
}

/** Gives out MACs, each once. */
class MacChoice {
  readonly #facts: BootFacts;
  readonly #draw: () => number;
  readonly #leases: ReadonlyMap<string, LeaseRecord>;
  /** Whose it is, by MAC: of two vifs that claim one, the one with the lease, else the first. */
  readonly #owners: ReadonlyMap<Mac, string>;
  readonly #taken: Set<Mac>;

  constructor(facts: BootFacts, files: readonly ParsedFile[], draw: () => number) {
    this.#facts = facts;
    this.#draw = draw;
    const live = facts.isNewDeployment ? [] : facts.leases.filter((lease) => isLive(lease, facts.nowMs));
    this.#leases = new Map(live.map((lease) => [keyOf(lease), lease]));
    const present = new Set(files.flatMap(({ path, vifs }) => vifs.map(({ index }) => keyIn(path, index))));
    const leased = [...this.#leases].filter(([key]) => present.has(key)).map(([key, { mac }]) => [mac, key] as const);
    // A map keeps the last, and the first claim is to count.
    const winners = new Set(new Map(leased.toReversed()).values());
    const claims = files.flatMap(({ path, vifs }) => vifs.flatMap((vif) => claimOf(path, vif)));
    const written = claims.filter(([, key]) => !winners.has(key));
    this.#owners = new Map([...leased, ...written].toReversed());
    const foreign = facts.files.flatMap((file) => (file.kind === 'refused' ? macsIn(file.text ?? '') : []));
    this.#taken = new Set(
      [...written, ...leased]
        .map(([mac]) => mac)
        .concat(
          facts.leases.map(({ mac }) => mac),
          foreign,
        ),
    );
  }

  /** @throws {AppError} `exhausted` when 64 draws were all taken */
  choose(file: string, vif: Vif): VifOutcome {
    const key = keyIn(file, vif.index);
    const outcome = { file, vif: vif.index, old: vif.mac };
    const lease = this.#leases.get(key);
    if (lease !== undefined && this.#owners.get(lease.mac) === key) {
      const isRight = macOf(vif) === lease.mac && !vif.isTemplateMac;
      return { ...outcome, new: isRight ? (vif.mac ?? '') : formatMac(lease.mac), reason: 'leased' };
    }
    const fault = this.#faultOf(key, vif);
    if (fault === undefined && vif.mac !== undefined) return { ...outcome, new: vif.mac, reason: 'kept' };
    return { ...outcome, new: formatMac(this.#drawMac()), reason: fault ?? 'no mac' };
  }

  /** Why the MAC that stands there cannot stay. */
  #faultOf(key: string, vif: Vif): MacReason | undefined {
    if (vif.isTemplateMac) return 'place holder';
    const mac = macOf(vif);
    // libxl invents another one at each create for a MAC of zeros, too.
    if (mac === undefined) return 'no mac';
    if (this.#facts.isNewDeployment) return 'new deployment';
    if (this.#facts.policy === 'every-boot') return 'every boot';
    if (isMulticastMac(mac)) return 'multicast';
    return this.#owners.get(mac) === key ? undefined : 'duplicate';
  }

  #drawMac(): Mac {
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const mac = xenMacFromBits(this.#draw());
      if (this.#taken.has(mac)) continue;
      this.#taken.add(mac);
      return mac;
    }
    const hint = 'give the vif a MAC by hand';
    throw new AppError('exhausted', `no MAC is free: ${MAX_TRIES} random ones are all taken`, { hint });
  }
}

function keyIn(cfgPath: string, vifIndex: number): string {
  return keyOf({ cfgPath, vifIndex });
}

/** What the domain gets from the file; `undefined`: libxl invents one at each create, as it does for all zeros. */
function macOf(vif: Vif): Mac | undefined {
  return vif.macAsXlReads === undefined ? undefined : parseMac(vif.macAsXlReads);
}

/** One that cannot stay is no claim. */
function claimOf(path: string, vif: Vif): readonly (readonly [Mac, string])[] {
  const mac = macOf(vif);
  if (mac === undefined || vif.isTemplateMac || isMulticastMac(mac)) return [];
  return [[mac, keyIn(path, vif.index)]];
}

function macsIn(text: string): readonly Mac[] {
  return (text.match(/\b[\da-f]{2}([:-])[\da-f]{2}(?:\1[\da-f]{2}){4}\b/gi) ?? []).map(parseMac);
}

function holdAutostart(facts: BootFacts, files: readonly ParsedFile[], refusals: readonly Refusal[]): readonly Hold[] {
  const refused = new Map(refusals.map(({ file, reason }) => [file, reason]));
  const parsed = new Map(files.map((file) => [file.path, file]));
  return facts.autostart.flatMap(({ path, file }) => {
    const reason = refused.get(file) ?? objectionTo(parsed.get(file), facts);
    return reason === undefined ? [] : [{ kind: 'autostart', path, reason }];
  });
}

/** Why a domU may not start by itself. */
function objectionTo(file: ParsedFile | undefined, facts: BootFacts): string | undefined {
  if (file === undefined) return 'it leads to no cfg file';
  if (file.vifs.length === 0) return undefined;
  // Its disk may have an address of the reservation before; nothing here tells.
  if (facts.isNewDeployment) return 'its address may be of the deployment before';
  const vifs = new Set(file.vifs.map(({ index }) => keyIn(file.path, index)));
  const ended = facts.leases.find((lease) => vifs.has(keyOf(lease)) && !isLive(lease, facts.nowMs));
  return ended && `the lease of its address ${formatIpv4(ended.address)} has ended`;
}

// Restored, a domU has the address and the MAC that are in its memory, whatever its cfg says.
function holdSavedStates({ savedStates, isNewDeployment }: BootFacts): readonly Hold[] {
  if (!isNewDeployment) return [];
  return savedStates.map((path) => ({ kind: 'saved state', path, reason: 'it is of the deployment before' }));
}
