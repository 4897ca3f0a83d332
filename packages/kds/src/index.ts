export type { AuthorityKeys } from './authority-keys.js';
export { createKdsClient, type KdsClient, type KdsClientOptions, NotCachedError } from './client.js';
export {
  type DevelopmentAuthority,
  type DevelopmentAuthorityOptions,
  openDevelopmentAuthority,
} from './development-authority.js';
export type { EndorsementSource } from './endorsement-source.js';
export { amdKeyService, askArkPaths, cekPath, type KeyServiceAddresses } from './key-service.js';
export { type Fetch, UnknownToServiceError } from './request.js';
export { type KdsServer, kdsRoutes, type ServeKdsOptions, serveKds } from './server.js';
