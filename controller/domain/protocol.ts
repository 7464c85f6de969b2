import { wrongState } from '../../shared/errors.js';

export interface ProtocolVersion {
  /** From 1. */
  readonly major: number;
  /** From 0. */
  readonly minor: number;
}

/**
 * Controller and agent work together when their majors are equal and their minors at most one apart.
 *
 * @param who what speaks `theirs`, for people: "agent of dom0-1"
 * @throws {AppError} `wrong_state`, naming the side to upgrade
 */
export function checkProtocol(ours: ProtocolVersion, theirs: ProtocolVersion, who: string): void {
  if (ours.major === theirs.major && Math.abs(ours.minor - theirs.minor) <= 1) return;
  const isTheirsOlder = theirs.major < ours.major || (theirs.major === ours.major && theirs.minor < ours.minor);
  const older = isTheirsOlder ? who : 'controller';
  throw wrongState(`${who} speaks protocol ${show(theirs)}, the controller ${show(ours)}`, {
    protocol: show(theirs),
    supported: show(ours),
    upgrade: isTheirsOlder ? 'agent' : 'controller',
    hint: `upgrade the ${older}`,
  });
}

function show(version: ProtocolVersion): string {
  return `${version.major}.${version.minor}`;
}
