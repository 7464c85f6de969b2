import { execFileSync } from 'node:child_process';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { SCRIPTS } from '../../controller/cli/completion-script.js';
import { quote } from '../../controller/cli/dom0/script.js';
import { FleetCli } from '../harness/fleet-cli.js';

// The real shells with the built program, and names of a fleet that is there.

const LIMIT_MS = 60_000;

t.test('what the shells complete', async (t) => {
  const cli = new FleetCli();
  t.teardown(() => cli.fleet.stop());
  await cli.start(['dom0-1', 'dom0-2'], 1);
  const folder = t.testdir();
  symlinkSync(join(process.cwd(), 'dist/cli/domherd.mjs'), join(folder, 'domherd'));
  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    writeFileSync(join(folder, shell), await cli.ok(`completion ${shell}`));
    t.equal(await cli.ok(`completion ${shell}`), SCRIPTS[shell]);
  }
  // A loaded machine has longer than a person waits for a key.
  writeFileSync(join(folder, 'timeout'), '#!/bin/sh\nshift\nexec "$@"\n', { mode: 0o755 });
  writeFileSync(join(folder, 'note.txt'), '');
  const run = (program: string, ...args: string[]): string =>
    execFileSync(program, args, {
      cwd: folder,
      encoding: 'utf8',
      timeout: LIMIT_MS,
      env: {
        PATH: `${folder}:${process.env['PATH'] ?? ''}`,
        DOMHERD_SOCKET: cli.fleet.socket,
        HOME: folder,
        TERM: 'xterm',
      },
    });

  /** As readline hands the line over, with its breaks at `@` and `=`. */
  const bash = (line: string): string => {
    const pieces = line.match(/[@=:]|[^\s@=:]+/g) ?? [];
    const words = [...pieces, ...(line.endsWith(' ') ? [''] : [])].map((word) => `'${word}'`).join(' ');
    const count = pieces.length + (line.endsWith(' ') ? 1 : 0);
    const ask = `COMP_WORDS=(${words}); COMP_CWORD=${String(count - 1)}; COMP_LINE='${line}'; COMP_POINT=${String(line.length)}`;
    return run('bash', '-c', `source ./bash; ${ask}; _domherd; echo "\${COMPREPLY[*]}"`).trim();
  };
  const fish = (line: string): string =>
    run('fish', '--no-config', '-c', `source ./fish; complete -C '${line}'`)
      .trim()
      .split('\n')
      .map((candidate) => candidate.split('\t')[0])
      .join(' ');
  /** A real line editor on a pseudo-terminal: a tab is typed, then a return, and what the command then gets is seen. */
  const zsh = (line: string): string => {
    const setUp =
      'autoload -U compinit; compinit -u -D; source ./zsh; bindkey "^I" complete-word; unsetopt beep; ' +
      'domherd() { print -r -- "G""OT:[$*]" }; echo rea""dy';
    const steps = [
      'zmodload zsh/zpty; zpty z zsh -f -i',
      `zpty -w z ${quote(setUp)}`,
      "zpty -r -m z seen '*ready*'",
      `zpty -w z ${quote(`${line}\t`)}`,
      "zpty -r -m z seen '*GOT:*]*'",
      'print -r -- "$seen"; zpty -d z',
    ];
    return /GOT:\[(.*)\]/.exec(run('zsh', '-f', '-c', steps.join('\n')))?.[1] ?? '';
  };

  for (const [line, want] of [
    ['domherd vm unp', 'unpause'],
    ['domherd vm start ', 'domU@dom0-1 domU@dom0-2'],
    ['domherd vm wait --all --for ru', 'running'],
    ['domherd host show ', 'dom0-1 dom0-2'],
    ['domherd vm list -o an', 'ansible'],
    ['domherd reservation import n', 'note.txt'],
  ] as const) {
    t.equal(bash(line), want, `bash: ${line}`);
    t.equal(fish(line), want, `fish: ${line}`);
  }
  t.equal(bash('domherd vm start domU@dom0-1 domU@d'), 'dom0-2', 'bash puts back only what stands behind the @');
  t.equal(bash('domherd vm wait --for=ru'), 'running');
  t.equal(fish('domherd vm wait --for=ru'), '--for=running');
  t.equal(fish('domherd vm start domU@dom0-1 domU@d'), 'domU@dom0-2');
  for (const [line, want] of [
    ['domherd vm unp', 'vm unpause'],
    ['domherd vm start ', 'vm start domU@dom0-'],
    ['domherd vm start domU@dom0-1 dom', 'vm start domU@dom0-1 domU@dom0-2'],
    ['domherd vm wait --all --for=ru', 'vm wait --all --for=running'],
    ['domherd reservation import n', 'reservation import note.txt'],
  ] as const) {
    t.equal(zsh(line).trim(), want, `zsh: ${line}`);
  }
});
