export type Colour = 'red' | 'green' | 'yellow' | 'dim';

const SGR: Readonly<Record<Colour, string>> = { red: '31', green: '32', yellow: '33', dim: '2' };

export function paint(text: string, colour: Colour | undefined): string {
  return colour === undefined ? text : `\u001b[${SGR[colour]}m${text}\u001b[0m`;
}

/** Whether colour is welcome: a terminal that can, and no NO_COLOR (https://no-color.org: any value but the empty one). */
export function wantsColour(
  sink: { readonly isTTY?: boolean | undefined },
  env: Readonly<Record<string, string | undefined>>,
): boolean {
  return isLive(sink, env) && !env['NO_COLOR'];
}

/** Whether a line on it can be written over. */
export function isLive(
  sink: { readonly isTTY?: boolean | undefined },
  env: Readonly<Record<string, string | undefined>>,
): boolean {
  return sink.isTTY === true && env['TERM'] !== 'dumb';
}
