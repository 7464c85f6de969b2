import { StoreKind, type HostStore, type StoresOfHost } from '../../../shared/gen/domherd/v1/disk.js';
import type { Column, View } from '../output.js';
import { bytesText } from './bytes-text.js';

/** One store of one host. */
export interface StoreRow {
  readonly host: string;
  readonly simulated: boolean;
  readonly stale: boolean;
  readonly store: HostStore;
}

export function storeRows({ host, simulated, stale, stores }: StoresOfHost): StoreRow[] {
  return stores.map((store) => ({ host, simulated, stale, store }));
}

function kindText({ kind }: HostStore): string {
  switch (kind) {
    case StoreKind.FILE_SYSTEM:
      return 'file system';
    case StoreKind.VOLUME_GROUP:
      return 'volume group';
    case StoreKind.THIN_POOL:
      return 'thin pool';
    default:
      return 'unknown';
  }
}

/** "25 %, metadata 4 %": a pool that runs out of either stops its volumes. */
function useText({ sizeBytes, freeBytes, metadataPercent }: HostStore): string {
  if (sizeBytes === 0n) return '-';
  const used = 100 - (100 * Number(freeBytes)) / Number(sizeBytes);
  const metadata = metadataPercent === undefined ? '' : `, metadata ${metadataPercent.toFixed(0)} %`;
  return `${used.toFixed(0)} %${metadata}`;
}

function note({ simulated, stale, store }: StoreRow): string {
  const marks = [
    store.sharesBlocks ? 'copies share blocks' : '',
    simulated ? 'simulated' : '',
    stale ? 'last seen' : '',
  ];
  return marks.filter((mark) => mark !== '').join(', ');
}

const COLUMNS: readonly Column<StoreRow>[] = [
  { title: 'HOST', text: ({ host }) => host },
  { title: 'STORE', text: ({ store }) => store.name },
  { title: 'KIND', text: ({ store }) => (store.type === 'lvm' ? kindText(store) : store.type) },
  { title: 'SIZE', text: ({ store }) => bytesText(store.sizeBytes) },
  { title: 'FREE', text: ({ store }) => bytesText(store.freeBytes) },
  { title: 'USED', text: ({ store }) => useText(store) },
  { title: 'DISKS', text: ({ store }) => String(store.disks.length) },
  { title: 'RECORDED', text: ({ store }) => `${store.recorded ? 'yes' : 'no'}: ${store.recordedReason}` },
  { title: 'NOTE', text: note },
];

export const STORE_VIEW: View<StoreRow> = {
  columns: COLUMNS,
  wide: [
    ...COLUMNS.slice(0, -1),
    { title: 'PATHS', text: ({ store }) => store.disks.map(({ path }) => path).join(' ') || '-' },
    ...COLUMNS.slice(-1),
  ],
  json: ({ host, simulated, stale, store }) => ({
    host,
    store: store.name,
    kind: kindText(store),
    type: store.type,
    sizeBytes: Number(store.sizeBytes),
    freeBytes: Number(store.freeBytes),
    metadataPercent: store.metadataPercent ?? null,
    sharesBlocks: store.sharesBlocks,
    recorded: store.recorded,
    recordedReason: store.recordedReason,
    disks: store.disks.map(({ vmKey, path, sizeBytes, usedBytes }) => ({
      ...{ cfg: vmKey, path, sizeBytes: Number(sizeBytes), usedBytes: Number(usedBytes) },
    })),
    simulated,
    stale,
  }),
  name: ({ host, store }) => `${store.name}@${host}`,
};
