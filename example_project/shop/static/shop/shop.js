// Writes the result of an import once it has ended. All else is shown live by the tags of django_dbos.

document.querySelector("#import")?.addEventListener("dbos:end", async ({ currentTarget }) => {
  const place = currentTarget.querySelector("[data-result]");
  const answer = await fetch(location.href, { headers: { Accept: "application/json" } });
  const { result } = await answer.json();
  if (!result) return;
  const [created, updated] = [result.created, result.updated].map((one) => one.toLocaleString("en"));
  place.textContent = `${created} new, ${updated} updated.`;
});
