// Shows how far the run is, and loads the page anew when a run ended.
const place = document.getElementById("running");
let ended;
const events = new EventSource("/api/v1/events");
events.addEventListener("status", (event) => {
  const status = JSON.parse(event.data);
  if (ended !== undefined && status.ended !== ended) {
    location.reload();
    return;
  }
  ended = status.ended;
  if (place) {
    const run = status.running;
    place.textContent = run ? `Run under way: ${run.id} (${run.cause}): ${run.progress}` : "";
  }
});
