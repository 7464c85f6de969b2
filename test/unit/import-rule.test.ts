import { readdirSync, readFileSync } from 'node:fs';
import { join, posix, relative } from 'node:path';
import t from 'tap';
import ts from 'typescript';

// Who may import whom: the rule of docs/decisions/0002-layers.md, held against every file.

const ROOT = join(import.meta.dirname, '..', '..');
const PROGRAMS = ['agent', 'controller'] as const;

interface SourceFile {
  /** From the root, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly imports: readonly string[];
}

interface Rule {
  readonly name: string;
  readonly appliesTo: (path: string) => boolean;
  readonly mayImport: (target: string, from: string) => boolean;
}

function readSources(): SourceFile[] {
  return ['shared', ...PROGRAMS].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => readSource(relative(ROOT, join(entry.parentPath, entry.name)))),
  );
}

function readSource(path: string): SourceFile {
  const text = readFileSync(join(ROOT, path), 'utf8');
  const { importedFiles } = ts.preProcessFile(text, true, true);
  return { path, text, imports: importedFiles.map(({ fileName }) => resolveImport(path, fileName)) };
}

/** Relative imports as paths from the root; packages as they are. */
function resolveImport(from: string, specifier: string): string {
  return specifier.startsWith('.') ? posix.join(posix.dirname(from), specifier).replace(/\.js$/, '.ts') : specifier;
}

const isGenerated = (path: string): boolean => path.startsWith('shared/gen/');
const isIn = (layer: string) => (path: string) => PROGRAMS.some((program) => path.startsWith(`${program}/${layer}/`));
const programOf = (path: string): string => path.split('/')[0] ?? '';
const isPackage = (target: string): boolean => !/^(shared|agent|controller)\//.test(target);
const isSharedDomain = (target: string): boolean =>
  target.startsWith('shared/domain/') || target === 'shared/errors.ts';
/** Values without a side: their types and functions may stand anywhere but in a domain. */
const isSharedBase = (target: string): boolean => /^shared\/[a-z-]+\.ts$/.test(target) || isSharedDomain(target);
/** The folder of an adapter: "agent/adapters/sim", or the file itself. */
const adapterOf = (path: string): string => path.split('/').slice(0, 3).join('/');

const RULES: readonly Rule[] = [
  {
    name: 'domain imports domain, shared/domain and errors, and no node:*',
    appliesTo: (path) => isIn('domain')(path) || path.startsWith('shared/domain/'),
    mayImport: (target, from) =>
      isSharedDomain(target) || (isIn('domain')(target) && programOf(target) === programOf(from)),
  },
  {
    name: 'ports import domain and ports',
    appliesTo: isIn('ports'),
    mayImport: (target) => isSharedDomain(target) || isIn('domain')(target) || isIn('ports')(target),
  },
  {
    name: 'services import domain, ports and services, never an adapter, generated code or grpc',
    appliesTo: isIn('services'),
    mayImport: (target) =>
      isSharedBase(target) ||
      isIn('domain')(target) ||
      isIn('ports')(target) ||
      isIn('services')(target) ||
      target === 'pino' ||
      (target.startsWith('node:') && !/^node:(fs|net|tls|http|child_process)/.test(target)),
  },
  {
    name: 'adapters do not import each other',
    appliesTo: isIn('adapters'),
    mayImport: (target, from) => !isIn('adapters')(target) || adapterOf(target) === adapterOf(from),
  },
  {
    name: 'agent and controller never meet',
    appliesTo: () => true,
    mayImport: (target, from) =>
      isPackage(target) || programOf(target) === 'shared' || programOf(target) === programOf(from),
  },
  {
    name: 'generated code stays at the edge: adapters, cli, shared/grpc',
    appliesTo: (path) => !isIn('adapters')(path) && !/^(controller\/cli|shared\/(grpc|gen))\//.test(path),
    mayImport: (target) => !isGenerated(target),
  },
  {
    name: 'agent and CLI never import SQLite',
    appliesTo: (path) => !path.startsWith('controller/adapters/sqlite/'),
    mayImport: (target) => target !== 'better-sqlite3',
  },
];

t.test('who may import whom', (t) => {
  const sources = readSources();
  t.ok(sources.length > 50, 'the tree was read');
  for (const rule of RULES) {
    const offences = sources
      .filter((source) => rule.appliesTo(source.path))
      .flatMap((source) =>
        source.imports
          .filter((target) => !rule.mayImport(target, source.path))
          .map((target) => `${source.path} -> ${target}`),
      );
    t.strictSame(offences, [], rule.name);
  }
  t.end();
});

t.test('only a main reads the environment or exits', (t) => {
  const offences = readSources()
    .filter(({ path }) => !/\/main\.ts$/.test(path) && !isGenerated(path))
    .filter(({ text }) => /\bprocess\.(env|exit\()/.test(text))
    .map(({ path }) => path);
  t.strictSame(offences, []);
  t.end();
});

t.test('every rule applies to some file', (t) => {
  const sources = readSources();
  for (const rule of RULES)
    t.ok(
      sources.some((source) => rule.appliesTo(source.path)),
      rule.name,
    );
  t.end();
});
