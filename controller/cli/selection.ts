import { invalid } from '../../shared/errors.js';
import type { VmSelector } from '../../shared/gen/domherd/v1/vm.js';

/** @throws {AppError} `invalid` unless either names or `--all` are given */
export function selectorOf(names: readonly string[], all: boolean | undefined): VmSelector {
  const isAll = all ?? false;
  if (isAll && names.length > 0) throw invalid('--all and names exclude each other', { hint: 'leave one of them out' });
  if (!isAll && names.length === 0)
    throw invalid('no VM is named', { hint: 'name VMs (NAME or NAME@HOST), or give --all' });
  return { names: [...names], all: isAll };
}
