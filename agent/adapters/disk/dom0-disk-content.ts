import { realpath } from 'node:fs/promises';
import type { FilePiece } from '../../../shared/domain/transfer.js';
import { AppError } from '../../../shared/errors.js';
import { piecesOf } from '../../../shared/transfer/file-pieces.js';
import type { DiskImage } from '../../domain/new-disk.js';
import type { DiskContent } from '../../ports/disk-content.js';
import type { RawViews } from '../../ports/raw-views.js';
import { fileError } from './atomic-file.js';

/** The longest that an order may take. */
const SEND_MS = 3_600_000;

/** The files and block devices of this machine. */
export class Dom0DiskContent implements DiskContent {
  readonly #views: RawViews;

  constructor(views: RawViews) {
    this.#views = views;
  }

  async *read(disk: DiskImage, file: number, signal: AbortSignal): AsyncGenerator<FilePiece, void, undefined> {
    try {
      if (disk.format === 'raw') yield* piecesOf(disk.path, file, signal);
      else yield* this.#readView({ ...disk, path: await realpath(disk.path) }, file, signal);
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof AppError ? error : fileError(`The disk ${disk.path} cannot be read`, error);
    }
  }

  /** It is open as long as somebody reads. */
  async *#readView(disk: DiskImage, file: number, signal: AbortSignal): AsyncGenerator<FilePiece, void, undefined> {
    let close = (): void => undefined;
    const closed = new Promise<void>((resolve) => (close = resolve));
    let held: Promise<void> | undefined;
    try {
      const path = await new Promise<string>((resolve, reject) => {
        const use = (raw: string): Promise<void> => {
          resolve(raw);
          return closed;
        };
        held = this.#views.withRaw(disk, 'read', signal, use, { limitMs: SEND_MS });
        held.catch(reject);
      });
      yield* piecesOf(path, file, signal);
    } finally {
      close();
      await held?.catch(() => undefined);
    }
  }
}
