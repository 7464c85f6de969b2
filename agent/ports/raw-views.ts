import type { DiskImage } from '../domain/new-disk.js';

export type ViewAccess = 'read' | 'write';

export interface ViewOptions {
  /** Milliseconds that it may be open; left out: longer than the longest write into a guest. */
  readonly limitMs?: number | undefined;
}

/** The bytes of disks as their guests see them. */
export interface RawViews {
  /**
   * The path by which the image's bytes are read and written: its own, if it is raw. One at a time of an image.
   *
   * @param image no link
   * @param access `read` is possible while a domU uses it
   * @throws {AppError} `wrong_state` (in use, asked for to write), `invalid` (no qcow2 image, a chain that does not say what
   *   it is), `unavailable`; what `use` throws
   */
  withRaw<T>(
    image: DiskImage,
    access: ViewAccess,
    signal: AbortSignal,
    use: (path: string) => Promise<T>,
    options?: ViewOptions,
  ): Promise<T>;
}
