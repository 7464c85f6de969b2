/** What a host tells the controller of itself or of one of its VMs; kept there as an event. */
export interface HostEvent {
  /** "noun.verb" of docs/events.md. */
  readonly kind: string;
  /** One sentence for people. */
  readonly message: string;
  /** The VM that it is about. */
  readonly vmKey: string | undefined;
  readonly details: Readonly<Record<string, string>>;
}
