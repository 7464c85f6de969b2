import type { IssueOptions } from './certificate-action.js';
import { PLAIN } from './format.js';
import { countOption, option, yesOption } from './option.js';
import { verb, type Noun } from './verb.js';

const MOST_DAYS = 90;

export const CERTIFICATE: Noun = {
  name: 'certificate',
  about: 'certificates for gRPC clients over TCP, this one or your own',
  verbs: [
    verb({
      name: 'issue',
      args: '<name>',
      about: 'make a key, have it signed, and write key.pem, cert.pem and ca.pem',
      formats: PLAIN,
      options: [
        option('--out <dir>', 'folder to write to; made if it is not there').makeOptionMandatory(),
        countOption('--days <n>', 'valid for N days; else 1', 1, MOST_DAYS),
      ],
      examples: ['domherd certificate issue notebook --out ~/domherd-identity --days 7'],
      run: async (call, [name = ''], options: IssueOptions) =>
        (await import('./certificate-action.js')).issueCertificate(call, name, options),
    }),
    verb({
      name: 'revoke',
      args: '<name>',
      about: 'refuse all certificates of that name from now on',
      formats: [],
      options: [yesOption()],
      examples: ['domherd certificate revoke notebook', 'domherd certificate revoke notebook --yes'],
      run: async (call, [name = ''], options: { yes?: boolean }) =>
        (await import('./certificate-action.js')).revokeCertificate(call, name, options),
    }),
  ],
};
