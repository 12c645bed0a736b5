/** Of this package. */
export { packageVersion as version } from '../native/locate.js';
