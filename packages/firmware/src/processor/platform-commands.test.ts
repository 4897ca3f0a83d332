import {
  certificateChainOf,
} from '@vouchsafe/sev';
