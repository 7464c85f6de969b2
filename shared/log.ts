import { pino, type DestinationStream, type Logger } from 'pino';
import type { LogLevel } from './log-level.js';

export { LOG_LEVELS, type LogLevel } from './log-level.js';

/** Fields that may hold secrets, wherever they stand up to one level deep. */
const SECRET_FIELDS = ['token', 'tokenSecret', 'secret', 'privateKey', 'key', 'csr', 'password'];

/** One JSON line per event on stderr; `error` means that someone must act. Secrets are replaced, not dropped. */
export function createLog(
  program: string,
  level: LogLevel,
  destination: DestinationStream = pino.destination({ dest: 2, sync: true }),
): Logger {
  const paths = SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]);
  return pino(
    {
      // Neither pid nor host name: journald and the shell know both.
      base: { name: program },
      level,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths, censor: '[secret]' },
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
}
