// `npm run test:lab [-- GROUP...]`: shows on two real dom0s what cannot be shown without Xen. The last line is
// "N passed, N failed"; the exit code is 0 only if nothing failed.
import { findLab, labPlace, minutesSince, openLab, type Lab } from '../lab.js';
import { endOnSignal, lockLab } from '../lock.js';
import { baseline } from './baseline.js';
import { agent } from './agent.js';
import { change } from './change.js';
import { create } from './create.js';
import { edit } from './edit.js';
import { images } from './images.js';
import { join } from './join.js';
import { kill } from './kill.js';
import { reboot } from './reboot.js';
import { remove } from './remove.js';
import { replay } from './replay.js';
import { spine } from './spine.js';
import type { Group, Step } from './group.js';

const GROUPS: readonly Group[] = [
  baseline,
  join,
  edit,
  kill,
  create,
  images,
  change,
  remove,
  spine,
  agent,
  replay,
  reboot,
];

interface Counts {
  passed: number;
  failed: number;
}

function chosen(names: readonly string[]): readonly Group[] {
  const unknown = names.filter((name) => !GROUPS.some((group) => group.name === name));
  if (unknown.length > 0)
    throw new Error(`no group is called ${unknown.join(', ')}; there are ${GROUPS.map(({ name }) => name).join(', ')}`);
  return GROUPS.filter(({ name }) => names.length === 0 || names.includes(name));
}

/** Without names. */
function isDue(lab: Lab, { name, unnamed = 'always' }: Group): boolean {
  const isIt = unnamed === 'always' || (unnamed === 'of-new-images' && !lab.isShown);
  if (!isIt)
    console.log(
      `${name}: not run${unnamed === 'never' ? '' : ', shown of these images before'}; npm run test:lab -- ${name}\n`,
    );
  return isIt;
}

/** @returns whether it is true */
async function show(lab: Lab, [sentence, prove]: Step): Promise<boolean> {
  const started = Date.now();
  const seconds = (): string => `${((Date.now() - started) / 1000).toFixed(0).padStart(4)} s`;
  try {
    const measured = await prove();
    console.log(`  ok     ${seconds()}  ${sentence}${measured ? `: ${measured}` : ''}`);
    return true;
  } catch (error) {
    console.log(`  FAILED ${seconds()}  ${sentence}`);
    console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    console.log(lab.tail());
    return false;
  }
}

/**
 * @param isThere whether the lab is at the group's beginning already
 * @returns whether everything in it is true
 */
async function runGroup(lab: Lab, group: Group, isThere: boolean, counts: Counts): Promise<boolean> {
  const started = Date.now();
  console.log(`${group.name}:`);
  const back: Step = [
    `both dom0s are as in the snapshot${group.after ? ` after ${group.after.name}` : ''}`,
    () => (isThere ? Promise.resolve() : lab.restore(group.after?.name)),
  ];
  const keep: Step = ['its end is kept for other groups', () => lab.save(group.name)];
  const steps = [back, ...group.steps(lab), ...(isContinued(group) ? [keep] : [])];
  let reached = 0;
  while (reached < steps.length && (await show(lab, steps[reached] ?? back))) reached += 1;
  counts.passed += reached;
  counts.failed += steps.length - reached;
  for (const [sentence] of steps.slice(reached + 1)) console.log(`  FAILED (not reached)  ${sentence}`);
  console.log(`${group.name}: ${minutesSince(started)} min\n`);
  return reached === steps.length;
}

function isContinued(group: Group): boolean {
  return GROUPS.some(({ after }) => after === group);
}

function withBefore(group: Group): readonly Group[] {
  return group.after ? [...withBefore(group.after), group] : [group];
}

/**
 * A group that another one begins with stands before it.
 *
 * @param isAtSnapshot whether the lab was started a moment ago
 */
async function runGroups(lab: Lab, groups: readonly Group[], isAtSnapshot: boolean, counts: Counts): Promise<void> {
  const done = new Map<Group, boolean>();
  let isThere = (group: Group): boolean => isAtSnapshot && group.after === undefined;
  for (const group of new Set(groups.flatMap(withBefore))) {
    if (group.after && done.get(group.after) !== true) {
      const { length } = group.steps(lab);
      counts.failed += length;
      console.log(`${group.name}: FAILED, not reached: ${group.after.name} failed\n`);
      continue;
    }
    const isTrue = await runGroup(lab, group, isThere(group), counts);
    if (group === baseline && isTrue) lab.noteShown();
    done.set(group, isTrue);
    isThere = ({ after }) => isTrue && after === group;
  }
}

async function main(): Promise<boolean> {
  const names = process.argv.slice(2);
  const groups = chosen(names);
  const place = labPlace();
  const unlock = lockLab(place);
  endOnSignal(async () => {
    await findLab(place).stop();
    unlock();
  });
  const started = Date.now();
  const counts: Counts = { passed: 0, failed: 0 };
  try {
    const lab = await openLab(place, console.log);
    const wasRunning = lab.isRunning();
    try {
      const opened = Date.now();
      if (!wasRunning) await lab.start('snapshot');
      console.log(`lab: ${minutesSince(opened)} min from the snapshot\n`);
      const due = groups.filter((group) => names.length > 0 || isDue(lab, group));
      await runGroups(lab, due, !wasRunning, counts);
      console.log(`from the snapshot: ${minutesSince(opened)} min; in all: ${minutesSince(started)} min`);
    } finally {
      // A lab that somebody left running stays up for him.
      if (wasRunning) await lab.frontend.stopController();
      else await lab.stop();
    }
  } finally {
    unlock();
  }
  console.log(`${String(counts.passed)} passed, ${String(counts.failed)} failed`);
  return counts.failed === 0;
}

process.exit((await main()) ? 0 : 1);
