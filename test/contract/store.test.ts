import { join } from 'node:path';
import t from 'tap';
import { openDatabase, openMemoryDatabase } from '../../controller/adapters/sqlite/open-database.js';
import { storeContract } from './store-contract.js';

const owner = { host: 'frontend', pid: process.pid, bootId: 'boot', startedAtMs: 0 };

void t.test('SQLite in a file', (t) =>
  storeContract(t, (t) => openDatabase({ path: join(t.testdir(), 'domherd.db'), owner })),
);
void t.test('SQLite in memory', (t) => storeContract(t, () => openMemoryDatabase()));
