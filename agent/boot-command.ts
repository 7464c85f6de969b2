// The parts of `domherd-agent boot` and `release`. They load neither gRPC nor TLS: domUs wait for them.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Exec } from '../shared/exec.js';
import { FileDeploymentRecord, FileEventBacklog, FileLeaseBook } from './adapters/disk/boot-record.js';
import { DirBootFolder, type BootPlaces } from './adapters/disk/dir-boot-folder.js';
import { DirHeldFolder } from './adapters/disk/dir-held-folder.js';
import { SystemDeployment } from './adapters/system/deployment.js';
import { systemClock } from './adapters/system/system-clock.js';
import { formatBootJson, formatBootText } from './domain/boot-report.js';
import { parseXendomains, type XendomainsSettings } from './domain/xendomains.js';
import type { Release } from './ports/held-folder.js';
import { HELD_DIR, XEN_DIR, type BootCommandOptions, type GateOptions } from './program.js';
import { bootHost } from './services/boot.js';

/** Debian's, and where Xen's own build looks. */
const XENDOMAINS_FILES = ['/etc/default/xendomains', '/etc/sysconfig/xendomains'];

export interface CommandOutcome {
  /** For stdout. */
  readonly text: string;
  /** For stderr. */
  readonly warnings: readonly string[];
}

/** @throws {AppError} as {@link bootHost} */
export async function runBoot(options: BootCommandOptions, exec: Exec): Promise<CommandOutcome> {
  const stateDir = resolve(options.stateDir);
  const report = await bootHost(options, {
    folder: new DirBootFolder(placesOf(options, stateDir), systemClock, exec),
    held: new DirHeldFolder(heldDirOf(options)),
    deployment: new SystemDeployment(exec),
    deploymentRecord: new FileDeploymentRecord(stateDir),
    leases: new FileLeaseBook(stateDir),
    backlog: new FileEventBacklog(stateDir),
    clock: systemClock,
    draw: () => randomBytes(3).readUIntBE(0, 3),
  });
  return {
    text: options.output === 'json' ? formatBootJson(report) : formatBootText(report),
    warnings: report.warnings,
  };
}

/** `isWhole`: nothing is held any more. @throws {AppError} `unavailable` */
export function runRelease(options: GateOptions): { readonly text: string; readonly isWhole: boolean } {
  const releases = new DirHeldFolder(heldDirOf(options)).releaseAll();
  const lines = releases.length === 0 ? 'nothing is held\n' : releases.map(describe).join('');
  const text = options.output === 'json' ? `${JSON.stringify(releases, null, 2)}\n` : lines;
  return { text, isWhole: releases.every(({ kind }) => kind === 'released') };
}

// With another --xen-dir than Xen's own, nothing of this machine's Xen is touched but what the options name.
function placesOf({ xenDir, autoDir, saveDir }: BootCommandOptions, stateDir: string): BootPlaces {
  const folder = resolve(xenDir);
  const own: XendomainsSettings =
    folder === XEN_DIR ? readXendomains() : { autoDir: join(folder, 'auto'), saveDir: undefined };
  return {
    xenDir: folder,
    autoDir: autoDir === undefined ? own.autoDir : resolve(autoDir),
    saveDir: saveDir === undefined ? own.saveDir : resolve(saveDir),
    backupDir: join(stateDir, 'backup'),
  };
}

function heldDirOf({ xenDir, stateDir, heldDir }: GateOptions): string {
  if (heldDir !== undefined) return resolve(heldDir);
  return resolve(xenDir) === XEN_DIR ? HELD_DIR : join(resolve(stateDir), 'held');
}

function readXendomains(): XendomainsSettings {
  for (const path of XENDOMAINS_FILES) {
    try {
      return parseXendomains(readFileSync(path, 'utf8'));
    } catch {
      // The next one; without any, xendomains has its defaults.
    }
  }
  return parseXendomains('');
}

function describe(release: Release): string {
  if (release.kind === 'released') return `${release.path}: back\n`;
  return `${release.path}: still held at ${release.heldAt}: ${release.reason}\n`;
}
