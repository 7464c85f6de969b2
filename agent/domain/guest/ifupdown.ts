import { invalid } from '../../../shared/errors.js';
import type { Ipv4 } from '../../../shared/domain/ipv4.js';
import type { GuestSettings, VifSettings } from '../order.js';
import type { NetworkPlan, NicOptions, StyleUse } from './guest-plan.js';
import { type GuestEdit, type GuestTree, pathsIn, planText, textOf } from './guest-tree.js';
import {
  ensureAuto,
  formatInterfaces,
  inetMethods,
  interfaceNames,
  type InterfacesFile,
  parseInterfaces,
  setStaticInterface,
  sourcesOf,
  staticAddress,
} from './interfaces-file.js';
import { chooseNicNames } from './nic-name.js';

const MAIN = '/etc/network/interfaces';
const FOLDER = '/etc/network/interfaces.d';

/** The main file first, then those that it includes. */
type Files = ReadonlyMap<string, InterfacesFile>;

export function ifupdownUse(tree: GuestTree): StyleUse {
  const isInstalled = tree.has('/sbin/ifup') || tree.has('/usr/sbin/ifup');
  if (!isInstalled) return tree.has(MAIN) ? 'idle' : 'absent';
  const names = [...filesOf(tree).values()].flatMap(interfaceNames);
  return names.some((name) => name !== 'lo') ? 'used' : 'idle';
}

export function readIfupdown(tree: GuestTree, options: NicOptions): ReadonlyMap<number, Ipv4> {
  const files = filesOf(tree);
  const names = nicNames(tree, files, options);
  const found = [...names].flatMap(([index, name]) => {
    const address = [...files.values()].map((file) => staticAddress(file, name)).find((each) => each !== undefined);
    return address === undefined ? [] : [[index, address] as const];
  });
  return new Map(found);
}

/** @throws {AppError} `invalid` */
export function planIfupdown(tree: GuestTree, settings: GuestSettings, options: NicOptions): NetworkPlan {
  if (tree.get(MAIN)?.kind === 'link') {
    throw invalid(`The guest's ${MAIN} is a link`, { hint: 'make it a file, or set the address by hand' });
  }
  const before = filesOf(tree);
  const names = nicNames(tree, before, options);
  const files = new Map(before);
  for (const vif of settings.vifs) {
    const name = names.get(vif.index) ?? `eth${vif.index}`;
    const path = [...files].find(([, file]) => interfaceNames(file).includes(name))?.[0] ?? MAIN;
    files.set(path, configured(files.get(path) ?? parseInterfaces(''), name, vif, files));
  }
  const edits = [...files].flatMap(([path, file]): readonly GuestEdit[] =>
    planText(tree, path, formatInterfaces(file)),
  );
  return { edits, nicNames: names };
}

function configured(file: InterfacesFile, name: string, vif: VifSettings, files: Files): InterfacesFile {
  const methods = [...files.values()].flatMap((each) => inetMethods(each, name));
  if (methods.length > 1) {
    throw invalid(`The guest's ${name} has ${methods.length} stanzas`, {
      hint: 'leave one, or set the address by hand',
    });
  }
  const [method = 'static'] = methods;
  if (method !== 'static' && method !== 'dhcp') {
    const hint = 'domherd writes static and dhcp interfaces; is it the port of a bridge or bond in the guest?';
    throw invalid(`The guest's ${name} is "${method}"`, { hint });
  }
  const { address, settings, hasDefaultRoute } = vif;
  const gateway = hasDefaultRoute ? settings.gateway : undefined;
  const dns = hasDefaultRoute ? settings.dns : [];
  const domain = hasDefaultRoute ? settings.domain : '';
  const { prefixLength, broadcast } = settings;
  const isUp = [...files.values()].some((each) => ensureAuto(each, name) === each);
  const set = setStaticInterface(file, { name, address, prefixLength, broadcast, gateway, dns, domain });
  return isUp ? set : ensureAuto(set, name);
}

function nicNames(tree: GuestTree, files: Files, options: NicOptions): ReadonlyMap<number, string> {
  return chooseNicNames([...files.values()].flatMap(interfaceNames), tree, options);
}

function filesOf(tree: GuestTree): Files {
  const text = textOf(tree, MAIN);
  const main = parseInterfaces(text ?? 'auto lo\niface lo inet loopback\n');
  const sources = sourcesOf(main).map((pattern) =>
    globPattern(pattern.startsWith('/') ? pattern : `/etc/network/${pattern}`),
  );
  const included = pathsIn(tree, FOLDER).filter((path) => sources.some((pattern) => pattern.test(path)));
  const texts = included.flatMap((path) => {
    const one = textOf(tree, path);
    return one === undefined ? [] : [[path, parseInterfaces(one)] as const];
  });
  return new Map([[MAIN, main], ...texts]);
}

/** Of a shell pattern: `*` and `?` as in a path. */
function globPattern(pattern: string): RegExp {
  const escaped = pattern.replace(/\/+/g, '/').replace(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replace(/\*/g, '[^/]*').replace(/\?/g, '[^/]')}$`);
}
