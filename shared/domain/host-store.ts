/** What disks of domUs are kept in. */
export const STORE_KINDS = ['file-system', 'volume-group', 'thin-pool'] as const;
export type StoreKind = (typeof STORE_KINDS)[number];

/** A disk that a VM of the host may write. */
export interface StoredVmDisk {
  /** Of its VM on the host: its cfg path. */
  readonly vmKey: string;
  readonly path: string;
  /** As its guest sees it. */
  readonly sizeBytes: number;
  /** Taken in the store, in steps of 16 MiB. */
  readonly usedBytes: number;
}

export interface HostStore {
  readonly kind: StoreKind;
  /** Mount point, VG, or VG/POOL; unique on the host. */
  readonly name: string;
  /** Of the file system; `lvm` else. */
  readonly type: string;
  readonly sizeBytes: number;
  /** In steps of 16 MiB, so that what every log writes is no news. */
  readonly freeBytes: number;
  /** Of a thin pool, 0 to 100: full, it stops all of its volumes. */
  readonly metadataPercent: number | undefined;
  /** Copies share blocks with their source: reflinks. */
  readonly sharesBlocks: boolean;
  /** Recording the deployed environment keeps it. */
  readonly isRecorded: boolean;
  /** For people: why it is recorded, or not. */
  readonly recordedReason: string;
  readonly disks: readonly StoredVmDisk[];
}
