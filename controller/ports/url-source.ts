import type { ImageOrigin } from './image-store.js';

export type UrlAnswer =
  /** As it was when `known` was told. */
  | { readonly kind: 'unchanged' }
  | {
      readonly kind: 'data';
      /** `undefined`: the server does not tell. */
      readonly totalBytes: number | undefined;
      readonly origin: ImageOrigin;
      /** @throws {AppError} `unavailable` if it breaks off or stalls */
      readonly data: AsyncIterable<Uint8Array>;
    };

/** What others have on the web. */
export interface UrlSource {
  /**
   * @param url http or https
   * @param known what the server said the last time
   * @throws {AppError} `invalid` (no such URL), `not_found`, `unavailable` (no answer, another status: details `status`)
   */
  open(url: string, known: ImageOrigin | undefined, signal: AbortSignal): Promise<UrlAnswer>;
}
