// Before the first paint: dark where the system is, or where the reader chose it.
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

const applyTheme = () => {
  const isDark = (localStorage.getItem("holdfast-theme") ?? (prefersDark.matches ? "dark" : "light")) === "dark";
  document.documentElement.classList.toggle("dark-mode", isDark);
};
applyTheme();
prefersDark.addEventListener("change", applyTheme);
