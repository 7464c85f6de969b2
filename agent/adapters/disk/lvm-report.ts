import * as v from 'valibot';
import { AppError, messageOf } from '../../../shared/errors.js';

export interface VolumeGroup {
  readonly name: string;
  readonly sizeBytes: number;
  readonly freeBytes: number;
}

export interface Volume {
  readonly group: string;
  readonly name: string;
  /** Both of its paths: `/dev/VG/LV`, `/dev/mapper/VG-LV`. */
  readonly paths: readonly string[];
  /** Of the block device. */
  readonly sizeBytes: number;
  /** Of a snapshot that is not thin: what its group gave it for changes. */
  readonly changeBytes: number | undefined;
  /** `linear`, `snapshot`, `thin`, `thin-pool`, ... */
  readonly type: string;
  /** Of a thin volume. */
  readonly pool: string | undefined;
  /** Of a snapshot, thin or not. */
  readonly origin: string | undefined;
  /** 0 to 100; of a pool, a snapshot or a thin volume that is active. */
  readonly dataPercent: number | undefined;
  /** Of a pool. */
  readonly metadataPercent: number | undefined;
  readonly tags: readonly string[];
}

/** What {@link parseGroups} reads. */
export const GROUP_FIELDS = 'vg_name,vg_size,vg_free';
/** What {@link parseVolumes} reads. */
export const VOLUME_FIELDS =
  'vg_name,lv_name,lv_path,lv_dm_path,lv_size,segtype,pool_lv,origin,data_percent,metadata_percent,lv_tags';

const GroupSchema = v.object({ vg_name: v.string(), vg_size: v.string(), vg_free: v.string() });
const VolumeSchema = v.object({
  vg_name: v.string(),
  lv_name: v.string(),
  lv_path: v.string(),
  lv_dm_path: v.string(),
  lv_size: v.string(),
  segtype: v.string(),
  pool_lv: v.string(),
  origin: v.string(),
  data_percent: v.string(),
  metadata_percent: v.string(),
  lv_tags: v.string(),
});
const GroupsSchema = v.object({ report: v.array(v.object({ vg: v.array(GroupSchema) })) });
const VolumesSchema = v.object({ report: v.array(v.object({ lv: v.array(VolumeSchema) })) });

/** What `vgs --reportformat json --units b --nosuffix` says. @throws {AppError} `unavailable` */
export function parseGroups(text: string): readonly VolumeGroup[] {
  return parse(GroupsSchema, text).report.flatMap(({ vg }) =>
    vg.map(({ vg_name, vg_size, vg_free }) => ({
      name: vg_name,
      sizeBytes: Number(vg_size),
      freeBytes: Number(vg_free),
    })),
  );
}

/** What `lvs` with the same options says; a volume of several segments is one. @throws {AppError} `unavailable` */
export function parseVolumes(text: string): readonly Volume[] {
  const rows = parse(VolumesSchema, text).report.flatMap(({ lv }) => lv);
  const sizes = new Map(rows.map(({ vg_name, lv_name, lv_size }) => [`${vg_name}/${lv_name}`, Number(lv_size)]));
  const volumes = rows.map((row): Volume => {
    const { vg_name: group, lv_name: name, lv_path, lv_dm_path, lv_tags } = row;
    const lvSize = Number(row.lv_size);
    // lvs tells of a snapshot what its changes are kept in: their segments, which are linear, and the room for them. The device
    // is as large as its origin.
    const isSnapshot = row.origin !== '' && row.pool_lv === '';
    const type = isSnapshot ? 'snapshot' : row.segtype;
    const sizeBytes = (isSnapshot ? sizes.get(`${group}/${row.origin}`) : undefined) ?? lvSize;
    return {
      ...{ group, name, type, sizeBytes, changeBytes: isSnapshot ? lvSize : undefined },
      paths: [lv_path, lv_dm_path].filter((path) => path !== ''),
      pool: row.pool_lv || undefined,
      origin: row.origin || undefined,
      dataPercent: percentOf(row.data_percent),
      metadataPercent: percentOf(row.metadata_percent),
      tags: lv_tags.split(',').filter((tag) => tag !== ''),
    };
  });
  return [...new Map(volumes.map((volume) => [`${volume.group}/${volume.name}`, volume])).values()];
}

function percentOf(text: string): number | undefined {
  return text === '' ? undefined : Number(text);
}

function parse<T>(schema: v.GenericSchema<unknown, T>, text: string): T {
  try {
    return v.parse(schema, JSON.parse(text));
  } catch (error) {
    throw new AppError('unavailable', `LVM said what cannot be read: ${messageOf(error)}`, {
      output: text.slice(0, 300),
    });
  }
}
