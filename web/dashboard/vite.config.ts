import { defineConfig } from 'vite';

// Where `npm run dev` finds a running service; the page itself knows no other address than its own.
const SERVICE = process.env.HOLDFAST_URL ?? 'http://127.0.0.1:8080';
const served = { target: SERVICE, changeOrigin: true, headers: { origin: SERVICE } };

export default defineConfig({
  base: '/dashboard/',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  // Another workspace may bring another version of Preact, which npm then puts where the signals find it: two copies would not see each other.
  resolve: { dedupe: ['preact'] },
  build: {
    outDir: '../dist/dashboard',
    emptyOutDir: true,
    target: 'es2023',
    // Data addresses in style sheets and scripts would need more than 'self' in the Content-Security-Policy.
    assetsInlineLimit: 0,
    // Every browser that understands the page preloads modules by itself.
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/api': served, '/readyz': served } },
});
