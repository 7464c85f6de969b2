import type { Ipv4 } from '../../shared/domain/ipv4.js';
import { parseMac } from '../../shared/domain/mac.js';
import { awayNameOf, incomingNameOf } from './live-move.js';
import type { Domain, ObservedVif, ObservedVm } from './vm.js';
import type { XlCfg } from './xl-cfg/syntax.js';
import { listVifs, type Vif } from './xl-cfg/vif.js';
import { cfgName, getNumber, getString } from './xl-cfg/xl-cfg.js';

/** What was found in the folder of cfg files. */
export type CfgFact = ParsedCfg | { readonly kind: 'broken'; readonly path: string; readonly problem: string };

export interface ParsedCfg {
  readonly kind: 'parsed';
  readonly path: string;
  readonly cfg: XlCfg;
  /** In the guest's own files, by vif index. */
  readonly addresses: ReadonlyMap<number, Ipv4>;
  /** Likewise, as {@link ObservedVm.hostKeys}. */
  readonly hostKeys?: readonly string[] | undefined;
}

/**
 * Brings files and domains together, by name: xl keeps no path. Files come in their order, domains without one after them.
 *
 * @throws {AppError} `invalid` if a parsed cfg has a vif that xl would refuse; such a file should come as broken
 */
export function describeVms(files: readonly CfgFact[], domains: readonly Domain[]): readonly ObservedVm[] {
  const claimed = new Set<string>();
  const ofFiles = files.map((file) => {
    if (file.kind === 'broken') return brokenVm(file.path, file.problem);
    const name = cfgName(file.cfg);
    if (name === undefined) return namelessVm(file);
    const domain = domains.find((one) => one.name === name && !hasOtherUuid(file, one));
    if (domain !== undefined) claimed.add(domain.uuid);
    const moving = domain === undefined ? movingOf(file, name, domains) : undefined;
    if (moving !== undefined) {
      claimed.add(moving.uuid);
      return movingVm(name, file, moving);
    }
    return cfgVm(name, file, domain, rivalOf(file, name, domain, files)?.path);
  });
  return [...ofFiles, ...domains.filter(({ uuid }) => !claimed.has(uuid)).map(domainVm)];
}

/** Of `domU` for `/etc/xen/domU.cfg`. */
export function nameOfPath(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1).replace(/\.cfg$/, '');
}

/** Its domain on the way from this host or to it, as xl calls it then. */
function movingOf(file: ParsedCfg, name: string, domains: readonly Domain[]): Domain | undefined {
  const names = [awayNameOf(name), incomingNameOf(name)];
  return domains.find((domain) => names.includes(domain.name) && !hasOtherUuid(file, domain));
}

// Where it runs is not decided, or not to be seen from here: `unknown`, not `stopped`.
function movingVm(name: string, file: ParsedCfg, { uuid, name: present }: Domain): ObservedVm {
  return {
    ...vmOfCfg(name, file),
    uuid,
    state: 'unknown',
    problem: `its domain is called ${present}: it is being migrated`,
  };
}

/** Another file that the domain may just as well have been made of. */
function rivalOf(
  file: CfgFact,
  name: string,
  domain: Domain | undefined,
  files: readonly CfgFact[],
): CfgFact | undefined {
  if (domain === undefined) return undefined;
  return files.find(
    (other) => other !== file && other.kind === 'parsed' && cfgName(other.cfg) === name && !hasOtherUuid(other, domain),
  );
}

function hasOtherUuid(file: ParsedCfg, domain: Domain): boolean {
  const uuid = getString(file.cfg, 'uuid')?.toLowerCase();
  return uuid !== undefined && uuid !== domain.uuid.toLowerCase();
}

function cfgVm(name: string, file: ParsedCfg, domain: Domain | undefined, rivalPath: string | undefined): ObservedVm {
  const isAmbiguous = domain !== undefined && rivalPath !== undefined;
  return {
    ...vmOfCfg(name, file),
    uuid: domain?.uuid ?? getString(file.cfg, 'uuid'),
    state: isAmbiguous ? 'unknown' : (domain?.state ?? 'stopped'),
    problem: isAmbiguous ? `a domain "${name}" exists and ${rivalPath} has that name too` : undefined,
    ...(domain && !isAmbiguous && { memoryMib: domain.memoryMib, vcpus: domain.vcpus }),
  };
}

function vmOfCfg(name: string, file: ParsedCfg): ObservedVm {
  return {
    key: file.path,
    name,
    cfgPath: file.path,
    uuid: getString(file.cfg, 'uuid'),
    state: 'stopped',
    memoryMib: countOf(getNumber(file.cfg, 'memory')) ?? 0,
    // xl.cfg(5): one without the key.
    vcpus: countOf(getNumber(file.cfg, 'vcpus')) ?? 1,
    vifs: listVifs(file.cfg).map((vif) => observeVif(vif, file.addresses.get(vif.index))),
    ...(file.hostKeys?.length && { hostKeys: file.hostKeys }),
    problem: undefined,
  };
}

/** A number that no host can give is as good as none. */
function countOf(value: number | undefined): number | undefined {
  return value !== undefined && value >= 0 && value < 2 ** 32 ? value : undefined;
}

function observeVif(vif: Vif, guestAddress: Ipv4 | undefined): ObservedVif {
  const mac = vif.macAsXlReads === undefined ? undefined : parseMac(vif.macAsXlReads);
  const script = vif.script === undefined ? undefined : { script: vif.script };
  return { index: vif.index, mac, bridge: vif.bridge, guestAddress, ...script };
}

// xl refuses to create it, so no domain can be its.
function namelessVm(file: ParsedCfg): ObservedVm {
  return { ...vmOfCfg(nameOfPath(file.path), file), problem: `${file.path} has no name: xl refuses it` };
}

// Its name may be anything, so any domain may be its: `unknown`, not `stopped`.
function brokenVm(path: string, problem: string): ObservedVm {
  const nothing = { cfgPath: path, uuid: undefined, memoryMib: 0, vcpus: 0, vifs: [] };
  return { key: path, name: nameOfPath(path), state: 'unknown', problem, ...nothing };
}

function domainVm(domain: Domain): ObservedVm {
  return { ...domain, key: `domain:${domain.uuid}`, cfgPath: undefined, vifs: [], problem: undefined };
}
