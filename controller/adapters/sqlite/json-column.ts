import * as v from 'valibot';
import { ipv4FromNumber } from '../../../shared/domain/ipv4.js';
import { macFromNumber } from '../../../shared/domain/mac.js';

const ipv4 = v.pipe(v.number(), v.transform(ipv4FromNumber));
const mac = v.pipe(v.number(), v.transform(macFromNumber));
const integer = v.pipe(v.number(), v.safeInteger());

/** JSON has no `undefined`: a key that is missing is one. */
function maybe<T>(schema: v.GenericSchema<unknown, T>): v.GenericSchema<unknown, T | undefined> {
  return v.optional(schema);
}

export const rangesColumn = v.array(v.strictObject({ first: ipv4, last: ipv4 }));

export const settingsColumn = v.pipe(
  v.strictObject({
    prefix: integer,
    broadcast: ipv4,
    gateway: ipv4,
    dns: v.array(ipv4),
    domain: maybe(v.string()),
  }),
  v.transform((settings) => ({ ...settings, domain: settings.domain })),
);

export const factsColumn = v.strictObject({
  agentVersion: v.string(),
  nodeVersion: v.string(),
  kernel: v.string(),
  xenVersion: v.string(),
  cpus: v.number(),
  memoryMib: v.number(),
  memoryFreeMib: v.number(),
  cfgFolder: v.optional(v.string()),
});

export const vifsColumn = v.array(
  v.pipe(
    v.strictObject({ index: integer, mac: maybe(mac), bridge: maybe(v.string()), guestAddress: maybe(ipv4) }),
    v.transform((vif) => ({ index: vif.index, mac: vif.mac, bridge: vif.bridge, guestAddress: vif.guestAddress })),
  ),
);

export const hostKeysColumn = v.array(v.string());

export const addressesColumn = v.array(v.string());

export const detailsColumn = v.record(v.string(), v.string());

/** @throws {SyntaxError | v.ValiError} if the text is not what this program writes there */
export function parseColumn<T>(schema: v.GenericSchema<unknown, T>, text: string): T {
  return v.parse(schema, JSON.parse(text));
}
