import { invalid } from '../errors.js';
import type { LiveAdmission as WireAdmission, LiveOffer as WireOffer } from '../gen/domherd/v1/migrate.js';
import type { LiveAdmission, LiveOffer } from '../domain/live-migration.js';

export function offerToWire({ cfgText, disks, ...offer }: LiveOffer): WireOffer {
  return {
    ...offer,
    cfg: Buffer.from(cfgText, 'latin1'),
    disks: disks.map(({ sizeBytes, offsets, digests, ...disk }) => ({
      ...{ ...disk, sizeBytes: BigInt(sizeBytes), offsets: offsets.map(BigInt), digests: [...digests] },
    })),
  };
}

/** @throws {AppError} `invalid` */
export function offerFromWire(wire: WireOffer | undefined): LiveOffer {
  if (wire === undefined) throw invalid('There is no offer', { field: 'offer' });
  const { cfg, disks, name, uuid, xenVersion, memoryMib, publicKey } = wire;
  return {
    ...{ name, uuid, xenVersion, memoryMib, publicKey },
    cfgText: Buffer.from(cfg).toString('latin1'),
    disks: disks.map(({ path, identity, sizeBytes, offsets, digests }) => ({
      ...{ path, identity, digests, sizeBytes: Number(sizeBytes), offsets: offsets.map(Number) },
    })),
  };
}

export function admissionToWire({ addresses, port, hostKeys, samples }: LiveAdmission): WireAdmission {
  return {
    ...{ addresses: [...addresses], port, hostKeys: [...hostKeys] },
    samples: samples.map((digests) => ({ digests: [...digests] })),
  };
}

/** @throws {AppError} `invalid` */
export function admissionFromWire(wire: WireAdmission | undefined): LiveAdmission {
  if (wire === undefined) throw invalid('There is no admission', { field: 'admission' });
  const { addresses, port, hostKeys, samples } = wire;
  return { addresses, port, hostKeys, samples: samples.map(({ digests }) => digests) };
}
