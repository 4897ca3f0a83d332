import { InvalidArgumentError } from '@vouchsafe/sev';

/** Parameters of the kernel that a Kata agent and its helpers know. They are measured with the command line. */
export interface AgentKernelParameters {
  /** Which client asks which broker: `agent.aa_kbc_params=cc_kbc::https://broker.example`. */
  readonly keyBroker?: KeyBrokerParameters;
  /** What of the REST interface is offered: `agent.guest_components_rest_api`. */
  readonly restFeatures?: RestFeatures;
  /** `kbs:///…` or `file://…`: `agent.image_policy_file`. */
  readonly imagePolicy?: string;
}

export interface KeyBrokerParameters {
  readonly client: 'cc_kbc' | 'offline_fs_kbc' | 'offline_sev_kbc';
  /** Empty for the clients that ask nobody. */
  readonly address: string;
}

export const restFeatures = ['resource', 'attestation', 'all'] as const;
export type RestFeatures = (typeof restFeatures)[number];

const clients = ['cc_kbc', 'offline_fs_kbc', 'offline_sev_kbc'] as const;

/**
 * Reads the agent's parameters of a kernel command line. `agent.enable_signature_verification` is not among them: a policy
 * that is there is enforced.
 * @throws InvalidArgumentError for a value that is not known, and for a parameter twice: which one counts is not for the
 * reader to guess
 */
export function parseAgentKernelParameters(commandLine: string): AgentKernelParameters {
  const found = new Map<string, string>();
  for (const word of commandLine.split(/\s+/)) {
    const [, name, value] = /^agent\.([a-z_]+)=(.*)$/s.exec(word) ?? [];
    if (name === undefined || value === undefined) continue;
    if (found.has(name))
      throw new InvalidArgumentError(`agent.${name}`, 'the kernel command line has it twice');
    found.set(name, value);
  }
  const [broker, features, policy] = [
    found.get('aa_kbc_params'),
    found.get('guest_components_rest_api'),
    found.get('image_policy_file'),
  ];
  return {
    ...(broker === undefined ? {} : { keyBroker: parseKeyBrokerParameters(broker) }),
    ...(features === undefined
      ? {}
      : { restFeatures: wordOf(restFeatures, features, 'agent.guest_components_rest_api') }),
    ...(policy === undefined ? {} : { imagePolicy: policy }),
  };
}

/** Reads `cc_kbc::https://broker.example`, also of `AA_KBC_PARAMS`. @throws InvalidArgumentError */
export function parseKeyBrokerParameters(text: string): KeyBrokerParameters {
  const [name = '', address = '', ...rest] = text.split('::');
  if (name === 'online_sev_kbc') {
    throw new InvalidArgumentError(
      'aa_kbc_params',
      'the client online_sev_kbc is gone, also from its makers’ agent',
      {
        hint: 'inject the keys themselves (offline_sev_kbc), or use SEV-SNP and cc_kbc',
      },
    );
  }
  const client = wordOf(clients, name, 'aa_kbc_params');
  if (rest.length > 0) throw new InvalidArgumentError('aa_kbc_params', 'expected CLIENT::ADDRESS');
  if (client === 'cc_kbc' && address === '')
    throw new InvalidArgumentError('aa_kbc_params', 'expected cc_kbc::https://HOST');
  return { client, address: client === 'cc_kbc' ? address : '' };
}

function wordOf<const W extends string>(words: readonly W[], given: string, name: string): W {
  const found = words.find((word) => word === given);
  if (found === undefined) throw new InvalidArgumentError(name, `expected ${words.join(', ')}`);
  return found;
}
