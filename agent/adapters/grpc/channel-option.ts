import type { ChannelOptions } from '@grpc/grpc-js';
import { SERVER_NAME } from '../../../shared/grpc/server-name.js';

/**
 * A dead network shows after 20 s. The name in the certificate is a fixed one, whatever the address. Retries and waits
 * between them are the session's, which knows all addresses.
 */
export const CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.ssl_target_name_override': SERVER_NAME,
  'grpc.default_authority': SERVER_NAME,
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.enable_retries': 0,
  // A pool of its own: connections with an old certificate are never found again.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.max_receive_message_length': 16 * 1024 * 1024,
  'grpc.enable_http_proxy': 0,
};
