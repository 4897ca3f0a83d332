import {
  type KeyProvider,
  KeyProviderService,
  keyIdText,
  keyProvider,
  type ServedMethod,
  serveMethods,
} from '@vouchsafe/protocol';
import { type AgentResources, requireResource } from '../resources/resources.js';
import { UnimplementedError } from '../unimplemented.js';

/**
 * The key provider of a guest: it opens the packets of encrypted images with the guest's keys. It also wraps, under a key
 * that this guest is given anyway; making a new key and storing it with the broker is an administrator's affair.
 */
export function guestKeyProvider(resources: AgentResources): KeyProvider {
  return keyProvider({
    keyToUnwrap: (keyId) => requireResource(resources, keyId),
    async keyToWrap({ keyId, keyPath }) {
      if (keyId === undefined || keyPath !== undefined) {
        throw new UnimplementedError('a guest wraps under keys that it is given, and stores no new ones', {
          hint: 'name one with keyid=kbs:///repository/type/tag, or encrypt where vouchsafe image key-provider runs',
        });
      }
      return { keyId, key: await requireResource(resources, keyIdText(keyId)) };
    },
  });
}

/** The service that container tools call. */
export function keyProviderService(provider: KeyProvider): ServedMethod[] {
  return serveMethods(KeyProviderService, {
    wrapKey: async ({ json }) => ({ json: await provider.answer(json, 'wrap') }),
    unWrapKey: async ({ json }) => ({ json: await provider.answer(json, 'unwrap') }),
  });
}
