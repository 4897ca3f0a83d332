import { checkTable } from '@vouchsafe/sev';

/** What an image is held against before it is unpacked. */
export const imagePolicyChecks = checkTable({
  'image.allowed': {
    title: 'the image policy allows the image',
    protects: 'The host could have the guest run an image that the owner never meant to be run.',
    hint: 'add the image’s repository to the policy that the guest is given, or run one that is in it',
    kind: 'expectation',
  },
  'image.signed': {
    title: 'the image bears the signatures that the policy requires',
    protects: 'The host could hand over another image under an allowed name.',
    hint: 'sign the image with a key of the policy, under the name by which it is pulled',
    kind: 'expectation',
  },
});
