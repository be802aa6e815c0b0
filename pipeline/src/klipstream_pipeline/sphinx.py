"""pocketsphinx with its own American English model: the fallback that needs nothing else. Its transcripts are weak."""

from importlib.metadata import version

from pocketsphinx import Decoder, get_model_path

from klipstream_pipeline.decoding import SAMPLES_PER_SECOND
from klipstream_pipeline.speech import Cut, Utterance
from klipstream_pipeline.transcript import Segment


class Sphinx:
    """An Engine."""

    name = "pocketsphinx"
    language = "en"
    low_confidence = True
    cut = Cut(longest_seconds=20.0, pause_seconds=0.0)

    def __init__(self) -> None:
        self.settings = f"pocketsphinx {version('pocketsphinx')} en-us"
        model = get_model_path("en-us")
        self._decoder = Decoder(
            hmm=f"{model}/en-us",
            lm=f"{model}/en-us.lm.bin",
            dict=f"{model}/cmudict-en-us.dict",
            samprate=SAMPLES_PER_SECOND,
            loglevel="ERROR",
        )
        self._cepstral_mean = self._decoder.get_cmn(False)

    def transcribe(self, utterance: Utterance) -> tuple[Segment, ...]:
        decoder = self._decoder
        # What it learned of the voice before would change its words, and a resumed analysis has not heard it.
        decoder.reinit_feat()
        decoder.set_cmn(self._cepstral_mean)
        decoder.start_utt()
        decoder.process_raw(utterance.samples.tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        if found is None or not found.hypstr.strip():
            return ()
        # <s>, <sil> and [NOISE] are no words. The probability of a word's own place in the lattice, 0 to 1.
        certain = [each.prob for each in decoder.seg() if not each.word.startswith(("<", "["))]
        confidence = min(1.0, sum(certain) / len(certain)) if certain else 0.0
        text = found.hypstr.strip()
        return (Segment(utterance.start_seconds, utterance.end_seconds, text, round(confidence, 3)),)
