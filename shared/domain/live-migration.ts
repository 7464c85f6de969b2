/** A device that two hosts are to see, as one of them sees it. */
export interface SharedDisk {
  /** As in the cfg. */
  readonly path: string;
  /** What the kernel knows the device by, whatever host asks. */
  readonly identity: string;
  readonly sizeBytes: number;
  /** Of pieces of it that were read. */
  readonly offsets: readonly number[];
  /** Of each block of those pieces. */
  readonly digests: readonly string[];
}

/** What the host that a VM runs on tells of it before it goes to another one live. */
export interface LiveOffer {
  readonly name: string;
  readonly uuid: string;
  /** "4.17.7" */
  readonly xenVersion: string;
  readonly memoryMib: number;
  /** One character a byte. */
  readonly cfgText: string;
  readonly disks: readonly SharedDisk[];
  /** In the form of authorized_keys. */
  readonly publicKey: string;
}

/** How the other one is reached, and what it reads of the same disks. */
export interface LiveAdmission {
  /** To be tried in this order. */
  readonly addresses: readonly string[];
  readonly port: number;
  /** Each as "TYPE BASE64". */
  readonly hostKeys: readonly string[];
  /** As {@link SharedDisk.digests}, of the offer's disks in their order. */
  readonly samples: readonly (readonly string[])[];
}
