/**
 * The name in every controller's server certificate, and the one that clients verify whatever address they dial: who the
 * controller is, is told by its own CA, not by DNS.
 */
export const SERVER_NAME = 'domherd-controller';
