// Prints the bridges of the network namespace that it runs in.
import { SysfsBridges } from '../../../agent/adapters/bridge/sysfs-bridges.js';

process.stdout.write(`${JSON.stringify(await new SysfsBridges({ xlConfPath: '/nonexistent' }).readBridges())}\n`);
